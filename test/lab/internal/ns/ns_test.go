package ns

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces take root")
	}
}

func TestCreateAndDelete(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "sub", "x")
	t.Cleanup(func() { _ = Delete(path) })
	if Exists(path) {
		t.Fatal("exists before it was made")
	}
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	first := inode(t, path)
	if err := Create(path); err != nil || inode(t, path) != first {
		t.Errorf("second create: got %v and another namespace, want the one there was", err)
	}
	if err := Bind(path, path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Delete(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is left, it was mounted twice")
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if Exists(path) {
		t.Error("a plain file counts as a namespace")
	}
	if err := Create(path); err != nil || !Exists(path) {
		t.Errorf("create over a leftover file: %v", err)
	}
}

func TestDoLeavesTheProcessWhereItIs(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "x")
	t.Cleanup(func() { _ = Delete(path) })
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	// Often enough that the scheduler would meet a thread that was left inside.
	for range 200 {
		var inside string
		err := InNetNS(path, func() error {
			var err error
			inside, err = os.Readlink("/proc/thread-self/ns/net")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		outside, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		if self, _ := os.Readlink("/proc/self/ns/net"); inside == outside || self != outside {
			t.Fatalf("inside %s, outside %s, process %s", inside, outside, self)
		}
	}
}

func TestStartWithFreshSys(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "x")
	t.Cleanup(func() { _ = Delete(path) })
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", "pwd; ls /sys/class/net")
	cmd.Dir = t.TempDir()
	cmd.Stdout = &out
	if err := (Place{NetNS: path, FreshSys: true}).Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := cmd.Dir + "\nlo\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + "-missing"} {
		err := InNetNS(path, func() error {
			t.Errorf("ran although %s is no namespace", path)
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want an error that names %s", err, path)
		}
	}
}

func inode(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("stat", "-L", "-c", "%i", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
