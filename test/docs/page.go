package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Block is a block of commands of a page, in order.
type Block struct {
	Page string // path below the repository
	Line int
	// On is where the block runs: the name of a node, EveryNode, or empty for the administrator's machine.
	On string
	// With is the situation in which it runs; empty: a cluster that is well.
	With     string
	Commands []Command
}

// EveryNode is the value of Block.On for what a page asks to do on each of them.
const EveryNode = "every node"

// Command is one command of a block.
type Command struct {
	Line int
	// Text is what a user would type, lines that belong together joined by newlines.
	Text string
	// Output is what the page shows of what it prints.
	Output []string
}

// Key is the command without a comment behind it.
func (c Command) Key() string { return strings.TrimSpace(trailing.ReplaceAllString(c.Text, "")) }

var trailing = regexp.MustCompile(`(?m)\s+# .*$`)

// Fails says whether the page shows the command to end with an error.
func (c Command) Fails() bool {
	return slices.ContainsFunc(c.Output, func(line string) bool { return strings.HasPrefix(line, "error: ") })
}

// Pages lists the documentation of a repository, README.md first.
func Pages(root string) ([]string, error) {
	out := []string{"README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		name, err := filepath.Rel(root, path)
		out = append(out, name)
		return err
	})
	return out, err
}

// Read returns the blocks of a page.
func Read(root, page string) ([]Block, error) {
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, err
	}
	return parse(page, string(raw))
}

var (
	fence = regexp.MustCompile("^( *)```([a-z]*)$")
	mark  = regexp.MustCompile(`^ *<!-- (on|with): (.*) -->$`)
)

func parse(page, text string) ([]Block, error) {
	var out []Block
	next := Block{Page: page}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if m := mark.FindStringSubmatch(lines[i]); m != nil {
			if m[1] == "on" {
				next.On = m[2]
			} else {
				next.With = m[2]
			}
			continue
		}
		m := fence.FindStringSubmatch(lines[i])
		if m == nil {
			if next.On+next.With != "" {
				return nil, fmt.Errorf("%s:%d: a mark without a block behind it", page, i+1)
			}
			continue
		}
		next.Line = i + 1
		end := i + 1
		for ; end < len(lines) && strings.TrimRight(lines[end], " ") != m[1]+"```"; end++ {
		}
		if end == len(lines) {
			return nil, fmt.Errorf("%s:%d: the block has no end", page, i+1)
		}
		body := make([]string, 0, end-i)
		for _, line := range lines[i+1 : end] {
			body = append(body, strings.TrimPrefix(line, m[1]))
		}
		switch m[2] {
		case "sh":
			next.Commands = script(body, i+2)
		case "console":
			next.Commands = session(body, i+2)
		}
		if len(next.Commands) > 0 {
			out = append(out, next)
		} else if next.On+next.With != "" || m[2] == "sh" || m[2] == "console" {
			return nil, fmt.Errorf("%s:%d: the block has no command", page, i+1)
		}
		next = Block{Page: page}
		i = end
	}
	return out, nil
}

// script reads the commands of a block of nothing else.
func script(lines []string, first int) []Command {
	var out []Command
	joined := false
	for i, line := range lines {
		switch text := strings.TrimSpace(line); {
		case joined:
			out[len(out)-1].Text += "\n" + line
		case text == "" || strings.HasPrefix(text, "#"):
			continue
		default:
			out = append(out, Command{Line: first + i, Text: line})
		}
		joined = strings.HasSuffix(line, `\`)
	}
	return out
}

// session reads the commands of a block that shows what they print.
func session(lines []string, first int) []Command {
	var out []Command
	for i, line := range lines {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, Command{Line: first + i, Text: text})
		} else if len(out) > 0 && strings.TrimSpace(line) != "" {
			c := &out[len(out)-1]
			c.Output = append(c.Output, line)
		}
	}
	return out
}
