package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// readAll returns all blocks, and the commands among them by their keys.
func readAll(t *testing.T) (blocks []Block, keys map[string]bool) {
	t.Helper()
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	keys = map[string]bool{}
	for _, page := range pages {
		read, err := Read(root, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range read {
			for _, c := range b.Commands {
				keys[c.Key()] = true
			}
		}
		blocks = append(blocks, read...)
	}
	return blocks, keys
}

// TestEveryCommandIsRunOrListed fails for a page with commands that the running test does not come to, and for an exception that
// no page needs.
func TestEveryCommandIsRunOrListed(t *testing.T) {
	blocks, keys := readAll(t)
	for _, b := range blocks {
		if !slices.Contains(Order, b.Page) && slices.ContainsFunc(b.Commands, IsRun) {
			t.Errorf("%s:%d: the page has commands and is not in Order: nobody runs them", b.Page, b.Line)
		}
	}
	for _, page := range Order {
		if !slices.ContainsFunc(blocks, func(b Block) bool { return b.Page == page }) {
			t.Errorf("%s is in Order and has no commands", page)
		}
	}
	for _, e := range NotRun {
		if !keys[e.Command] {
			t.Errorf("%q is excepted, and no page has it any more", e.Command)
		}
		if e.Reason == "" {
			t.Errorf("%q is excepted without a reason", e.Command)
		}
	}
	for _, command := range Fails {
		if !keys[command] {
			t.Errorf("%q is to fail, and no page has it any more", command)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noise   = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestLinks follows every link of the documentation that leads to a file or a heading of the repository.
func TestLinks(t *testing.T) {
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "test/lab/README.md") {
		raw, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(t, path), anchor) {
				t.Errorf("%s: link to %s: no such heading there", page, m[1])
			}
		}
	}
}

// anchors are the names that GitHub gives to the headings of a page.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range heading.FindAllStringSubmatch(string(raw), -1) {
		out = append(out, strings.ReplaceAll(noise.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

const page = "# A page\n\n```sh\n# a comment\nfirst --flag \\\n  --other   # why\n\nsecond   # why\n```\n\n<!-- with: trouble -->\n<!-- on: n2 -->\n   ```console\n" +
	"   $ third\n   shown 1\n\n   error: no\n   $ fourth\n   ```\n\n```yaml\na: b\n```\n"

func TestParse(t *testing.T) {
	got, err := parse("p.md", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Page: "p.md", Line: 3, Commands: []Command{{Line: 5, Text: "first --flag \\\n  --other   # why"}, {Line: 8, Text: "second   # why"}}},
		{Page: "p.md", Line: 13, On: "n2", With: "trouble", Commands: []Command{
			{Line: 14, Text: "third", Output: []string{"shown 1", "error: no"}}, {Line: 18, Text: "fourth"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	if key := got[0].Commands[1].Key(); key != "second" {
		t.Errorf("key: got %q", key)
	}
	if !got[1].Commands[0].Fails() || got[1].Commands[1].Fails() {
		t.Error("which commands fail: it is the one that shows an error")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no end":            "```sh\nls\n",
		"no command":        "```console\nshown\n```\n",
		"mark of yaml":      "<!-- on: n1 -->\n```yaml\na: b\n```\n",
		"mark without more": "<!-- with: trouble -->\nSome words.\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parse("p.md", text); err == nil {
				t.Errorf("no error, got %v", got)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	const printed = "revision 0a1b2c3d took 1.3s\n[200ms] on its way\nNAME   AGE\nn1     5m3s\nlevel=ERROR msg=x err=\"long text\"\nn3 has 10.244.2.0/24\n"
	for name, test := range map[string]struct {
		shown string
		want  []string
	}{
		"times and hashes": {shown: "revision 328e8933 took 200ms"},
		"columns":          {shown: "n1 7s"},
		"subnets":          {shown: "n3 has 10.244.3.0/24"},
		"progress":         {shown: "[3s] revision 0a1b2c3d: preparing"},
		"no progress":      {shown: "[3s] something else", want: []string{"[3s] something else"}},
		"left out":         {shown: "level=ERROR msg=x … text\""},
		"another word":     {shown: "revision 328e8933 failed", want: []string{"revision 328e8933 failed"}},
		"another node":     {shown: "n2     5m3s", want: []string{"n2     5m3s"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Missing([]string{test.shown}, printed)); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
