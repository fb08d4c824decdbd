package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	execWith := flag.String("exec", "", "command that runs the test programs, such as sudo (go test -exec)")
	only := flag.String("only", "", "run only the mutants whose names contain this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *execWith, *only); err != nil {
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		os.Exit(1)
	}
}

// run tries every patch whose name contains only.
func run(ctx context.Context, execWith, only string) (err error) {
	patches, err := filepath.Glob("hack/mutants/*" + only + "*.patch")
	if err != nil || len(patches) == 0 {
		return errors.Join(err, fmt.Errorf("%d patches have %q in their names", len(patches), only))
	}
	w := workshop{execWith: execWith, sound: map[string]error{}}
	if w.tree, err = os.MkdirTemp("", "hopsack-mutants-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.tree)) }()
	if err := w.copyTree(ctx); err != nil {
		return fmt.Errorf("copy the work tree: %w", err)
	}
	wrong := 0
	for _, patch := range patches {
		started := time.Now()
		verdict, err := w.try(ctx, patch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wrong++
			verdict = "WRONG: " + err.Error()
		}
		fmt.Printf("%-34s %5.1f s  %s\n", strings.TrimSuffix(filepath.Base(patch), ".patch"), time.Since(started).Seconds(), verdict)
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d mutants are not caught", wrong, len(patches))
	}
	fmt.Printf("all %d mutants are caught\n", len(patches))
	return nil
}

// workshop is where mutants are made and tested.
type workshop struct {
	tree     string // the copy of the work tree
	execWith string
	sound    map[string]error // by the arguments of go test: what is wrong with those tests when nothing is broken
}

// copyTree copies the work tree without what git ignores.
func (w workshop) copyTree(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and git does not know yet
		}
		content, readErr := os.ReadFile(name)
		to := filepath.Join(w.tree, name)
		if err := errors.Join(err, readErr, os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// try applies one patch, tests it and takes it back. The verdict names the test that noticed; all else is an error.
func (w workshop) try(ctx context.Context, patch string) (verdict string, err error) {
	content, err := os.ReadFile(patch)
	if err != nil {
		return "", err
	}
	test, err := readHeader(string(content))
	if err != nil {
		return "", err
	}
	if err := w.check(ctx, test); err != nil {
		return "", fmt.Errorf("its tests are no use: %w", err)
	}
	if err := w.apply(ctx, content); err != nil {
		return "", fmt.Errorf("does not apply: %w", err)
	}
	defer func() { err = errors.Join(err, w.apply(context.WithoutCancel(ctx), content, "-R")) }()
	failed, passed, err := w.goTest(ctx, test)
	if err == nil && failed == "" {
		err = fmt.Errorf("survives %d tests: go test %s", passed, test)
	}
	return "caught by " + failed, err
}

// readHeader returns the arguments of go test from what stands before the diff.
func readHeader(patch string) (test string, err error) {
	header, _, _ := strings.Cut(patch, "diff --git ")
	said, args, found := strings.Cut(header, "test: ")
	if !found || len(strings.TrimSpace(said)) == 0 {
		return "", errors.New(`the header must say what the patch breaks and then "test: ARGS"`)
	}
	return strings.TrimSpace(args), nil
}

// check runs tests without any mutant, once: what fails then, or does not exist, can catch nothing.
func (w workshop) check(ctx context.Context, test string) error {
	err, done := w.sound[test]
	if done {
		return err
	}
	failed, passed, err := w.goTest(ctx, test)
	switch {
	case err != nil:
	case failed != "":
		err = fmt.Errorf("%s fails without it", failed)
	case passed == 0:
		err = fmt.Errorf("go test %s runs none", test)
	}
	w.sound[test] = err
	return err
}

// apply has git apply a patch in the copy. The ceiling keeps git from finding a repository around the copy: inside of one it
// would skip every file without a word.
func (w workshop) apply(ctx context.Context, patch []byte, flags ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"apply"}, flags...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = w.tree, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(w.tree)), bytes.NewReader(patch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// goTest runs go test in the copy until a test fails, and returns that test's name and how many passed. The error says that
// tests could not be built or run, which is not the same as a test that fails.
func (w workshop) goTest(ctx context.Context, args string) (failed string, passed int, err error) {
	all := []string{"test", "-json", "-count=1", "-failfast", "-vet=off", "-exec", w.execWith}
	cmd := exec.CommandContext(ctx, "go", append(all, strings.Fields(args)...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that tests clean up
	cmd.Dir = w.tree
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	said := ""
	for decoder := json.NewDecoder(&stdout); decoder.More(); {
		var e struct{ Action, Package, Test, Output string } // cmd/test2json
		if err := decoder.Decode(&e); err != nil {
			return "", 0, fmt.Errorf("read go test's events: %w", err)
		}
		switch {
		case e.Action == "build-fail":
			return "", 0, fmt.Errorf("does not compile:\n%s", said)
		case e.Test == "":
			said += e.Output
		case e.Action == "pass":
			passed++
		case e.Action == "fail" && failed == "": // a subtest fails before its parent
			failed = e.Package[strings.LastIndex(e.Package, "hopsack/")+len("hopsack/"):] + " " + e.Test
		}
	}
	if runErr != nil && failed == "" {
		return "", 0, fmt.Errorf("run go test: %w\n%s%s", runErr, said, &stderr)
	}
	return failed, passed, nil
}
