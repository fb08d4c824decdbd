package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadHeader(t *testing.T) {
	for name, tc := range map[string]struct {
		patch string
		want  string // "": an error
	}{
		"good":        {"It breaks this.\ntest: ./a -run ^TestB$\n\ndiff --git a/x b/x\n", "./a -run ^TestB$"},
		"no test":     {"It breaks this.\n\ndiff --git a/x b/x\n+test: ./a\n", ""},
		"no sentence": {"test: ./a\n\ndiff --git a/x b/x\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readHeader(tc.patch)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// A patch that fell behind the code is mended with the change that left it behind, not when somebody next runs all of them.
func TestPatchesApply(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatalf("found %d patches, error %v", len(patches), err)
	}
	for _, patch := range patches {
		content, err := os.ReadFile(patch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readHeader(string(content)); err != nil {
			t.Errorf("%s: %v", patch, err)
		}
		cmd := exec.Command("git", "apply", "--check", filepath.Join("hack/mutants", patch))
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", patch, err, out)
		}
		if strings.Contains(string(content), "_test.go") {
			t.Errorf("%s: breaks a test, not what is tested", patch)
		}
	}
}
