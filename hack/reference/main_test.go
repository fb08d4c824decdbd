package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const api = "../../api/v1alpha1"

func TestReferenceIsCurrent(t *testing.T) {
	want, err := generate(api)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/reference.md is not current: run make generate (-want +got):\n%s", diff)
	}
}

// TestEverythingIsThere looks for what the page would lose in silence.
func TestEverythingIsThere(t *testing.T) {
	s, err := parseSource(api)
	if err != nil {
		t.Fatal(err)
	}
	text, err := generate(api)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range s.kinds() {
		if !strings.Contains(text, "\n## "+k.name+"\n") {
			t.Errorf("no section about %s", k.name)
		}
	}
	if got := len(s.kinds()); got != 3 {
		t.Errorf("%d kinds, want 3", got)
	}
	for _, prefix := range []string{"Reason", "Probe", "Condition"} {
		for name, c := range s.named(prefix) {
			if n := strings.Count(text, "\n| `"+c.value+"` |"); n < 1 {
				t.Errorf("no line about %s", name)
			}
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| `") && strings.Contains(line, "|  |  |") {
			t.Errorf("a line without text: %s", line)
		}
	}
	for _, row := range []string{
		"| `subnetLen` | integer | `24` |",
		"| `port` | integer | `8285` |",
		"| `maxConcurrent` | integer or string | `10%` |",
		"| `VerificationFailed` | Progressing, Ready, Stalled |",
		"| `names` | list of string, at most 16 |",
		"- mtu must be 0, or at least 576\n",
	} {
		if !strings.Contains(text, "\n"+row) && !strings.HasPrefix(row, "- ") || strings.HasPrefix(row, "- ") && !strings.Contains(text, row) {
			t.Errorf("missing: %s", row)
		}
	}
}

// TestReasonsHaveConditions fails for a reason that no condition names: whoever meets it would not know where it belongs.
func TestReasonsHaveConditions(t *testing.T) {
	s, err := parseSource(api)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, c := range s.named("Condition") {
		for _, r := range reasonsOf(c) {
			named[r] = true
		}
	}
	for name, c := range s.named("Reason") {
		if !named[c.value] {
			t.Errorf("%s stands in the comment of no condition type", name)
		}
	}
}

func TestAnchors(t *testing.T) {
	text, err := generate(api)
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for line := range strings.Lines(text) {
		if level := strings.IndexByte(line, ' '); level > 0 && strings.Trim(line[:level], "#") == "" {
			a := anchor(strings.TrimSpace(line[level:]))
			if headings[a] {
				t.Errorf("two headings have the anchor %s", a)
			}
			headings[a] = true
		}
	}
	for _, link := range strings.Split(text, "](#")[1:] {
		target, _, _ := strings.Cut(link, ")")
		if !headings[target] {
			t.Errorf("a link to #%s, which no heading has", target)
		}
	}
}

func TestSentence(t *testing.T) {
	tests := map[string]struct{ name, doc, want string }{
		"is":       {"mtu", "mtu is the largest packet", "The largest packet"},
		"verb":     {"cni", "cni says how", "Says how"},
		"reason":   {"ReasonReady", "ReasonReady: everything is in effect", "Everything is in effect"},
		"comma":    {"hairpinMode", "hairpinMode, when Enabled (default), lets", "When Enabled (default), lets"},
		"no name":  {"x", "some words", "Some words"},
		"markdown": {"x", "x is a | b * <c>", `A \| b \* &lt;c>`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := sentence(test.name, test.doc); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
