package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json (cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // build output only
	Test       string
	Output     string
}

// result gathers one stage.
type result struct {
	stage   string
	out     io.Writer
	elapsed time.Duration

	packages, packagesFailed int
	passed, failed           int // tests and subtests
	skipped                  []string

	pending map[string][]string // output by package and test, kept until it is known whether it matters
}

func newResult(stage string, out io.Writer) *result {
	return &result{stage: stage, out: out, pending: map[string][]string{}}
}

// read follows go test's events until they end.
func (r *result) read(events io.Reader) error {
	decoder := json.NewDecoder(events)
	for {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read go test's events: %w", err)
		}
		r.add(e)
	}
}

func (r *result) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if e.Test == "" && closingLine(e.Output) {
			fmt.Fprint(r.out, e.Output)
			return
		}
		r.pending[key] = append(r.pending[key], e.Output)
	case "pass", "skip":
		if e.Action == "skip" && e.Test != "" {
			r.skipped = append(r.skipped, e.Package+" "+e.Test)
		}
		r.count(e, &r.passed, nil)
		delete(r.pending, key)
	case "fail":
		r.count(e, &r.failed, &r.packagesFailed)
		keys := []string{key}
		if e.Test == "" {
			// Tests that had not ended yet when the package did: a panic says nothing of them.
			keys = r.pendingOf(e.Package)
		}
		for _, key := range keys {
			for _, line := range r.pending[key] {
				fmt.Fprint(r.out, line)
			}
			delete(r.pending, key)
		}
	}
}

// pendingOf lists what there is output of in a package.
func (r *result) pendingOf(pkg string) []string {
	var keys []string
	for key := range r.pending {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// count books a finished test under tests, a finished package under packages.
func (r *result) count(e event, tests, packages *int) {
	switch {
	case e.Test == "":
		r.packages++
		if packages != nil {
			*packages++
		}
	case e.Action != "skip":
		*tests++
	}
}

// closingLine says whether line is the last thing go test says about a package.
func closingLine(line string) bool {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// failures counts what makes the run fail.
func (r *result) failures() int { return r.failed + r.packagesFailed + len(r.skipped) }

// summarize prints one line per stage and returns an error when anything failed or was skipped.
func summarize(out io.Writer, results []*result) error {
	failures := 0
	fmt.Fprintln(out, "== summary")
	for _, r := range results {
		fmt.Fprintf(out, "%-16s %3d packages  %5d tests passed  %3d failed  %3d skipped  %6.1f s\n",
			r.stage, r.packages, r.passed, r.failed, len(r.skipped), r.elapsed.Seconds())
		failures += r.failures()
	}
	for _, r := range results {
		for _, name := range r.skipped {
			fmt.Fprintf(out, "skipped: %s\n", name)
		}
	}
	if failures > 0 {
		return errors.New("some tests failed or were skipped")
	}
	fmt.Fprintln(out, "every test passed")
	return nil
}
