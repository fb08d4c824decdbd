package dataplane_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// A file is written when it differs, and left alone, down to its inode, when it does not.
func TestFiles(t *testing.T) {
	n := newFakeNode(t)
	want := n.before()
	path := want.Files[0].Path
	sync(t, n.Dataplane, want)
	first, err := os.Stat(path)
	if err != nil || first.Mode() != 0o644 {
		t.Fatalf("got %v, %v, want a file of mode 0644", first, err)
	}
	settled(t, n.Dataplane, want)
	if second, _ := os.Stat(path); !os.SameFile(first, second) || !first.ModTime().Equal(second.ModTime()) {
		t.Error("the file was written again")
	}
	for name, spoil := range map[string]func() error{
		"changed":           func() error { return os.WriteFile(path, []byte("x"), 0o600) },
		"deleted":           func() error { return os.Remove(path) },
		"without directory": func() error { return os.RemoveAll(filepath.Dir(want.Files[1].Path)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if got := sync(t, n.Dataplane, want).Changes.String(); got != "file=1" {
				t.Errorf("got changes %q, want file=1", got)
			}
			for _, f := range want.Files {
				if b, err := os.ReadFile(f.Path); string(b) != f.Content {
					t.Errorf("%s: got %q, %v, want %q", f.Path, b, err, f.Content)
				}
			}
		})
	}
	left, _ := filepath.Glob(filepath.Join(n.dir, ".hopsack-*"))
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("temporary files left (-want +got):\n%s", diff)
	}
}

// A file that changes is replaced: who has begun to read it reads the old content to its end.
func TestFileIsReplaced(t *testing.T) {
	n := newFakeNode(t)
	before, after := n.before(), n.after()
	sync(t, n.Dataplane, before)
	reader, err := os.Open(before.Files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	sync(t, n.Dataplane, after)
	if b, err := io.ReadAll(reader); string(b) != before.Files[0].Content {
		t.Errorf("got %q, %v, want the old content, %q", b, err, before.Files[0].Content)
	}
}

// What the plugins note down goes with the network, but not while a pod has an address of it.
func TestSweep(t *testing.T) {
	n := newFakeNode(t)
	want := n.before()
	sync(t, n.Dataplane, want)
	ipam := filepath.Join(n.dir, "ipam", "hopsack")
	if err := os.MkdirAll(ipam, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "last_reserved_ip.0", "10.244.1.7"} {
		if err := os.WriteFile(filepath.Join(ipam, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	left := func() int {
		entries, _ := os.ReadDir(ipam)
		return len(entries)
	}
	sync(t, n.Dataplane, desired.State{})
	if got := left(); got != 3 {
		t.Errorf("with a pod: %d files are left of 3", got)
	}
	if err := os.Remove(filepath.Join(ipam, "10.244.1.7")); err != nil {
		t.Fatal(err)
	}
	sync(t, n.Dataplane, want)
	if got := left(); got != 2 {
		t.Errorf("with a network: %d files are left of 2", got)
	}
	sync(t, n.Dataplane, desired.State{})
	if _, err := os.Stat(filepath.Dir(ipam)); !os.IsNotExist(err) {
		t.Errorf("without pods and network: %v", err)
	}
	settled(t, n.Dataplane, desired.State{})
}

// A file whose path is no proof of ownership goes only when its content is.
func TestFileOfSomebodyElse(t *testing.T) {
	n := newFakeNode(t)
	path := filepath.Join(n.dir, "subnet.env")
	if err := os.WriteFile(path, []byte("FLANNEL_MTU=1450\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sync(t, n.Dataplane, desired.State{})
	if _, err := os.Stat(path); err != nil {
		t.Errorf("flannel's file is gone: %v", err)
	}
	sync(t, n.Dataplane, n.before())
	sync(t, n.Dataplane, desired.State{})
	if _, err := os.Stat(path); err == nil {
		t.Error("hopsack's file is still there")
	}
}

// A file that cannot be written is an error that names it, holds back those after it, and leaves nothing behind.
func TestFileThatCannotBeWritten(t *testing.T) {
	n := newFakeNode(t)
	want := n.before()
	if err := os.Mkdir(want.Files[0].Path, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := n.Sync(context.Background(), want, false)
	if err == nil || !strings.Contains(err.Error(), want.Files[0].Path) {
		t.Errorf("got error %v, want one that names %s", err, want.Files[0].Path)
	}
	if _, err := os.Stat(want.Files[1].Path); err == nil {
		t.Error("the hand-off was written after a file before it failed")
	}
	if err := os.Remove(want.Files[0].Path); err != nil {
		t.Fatal(err)
	}
	sync(t, n.Dataplane, want)
	settled(t, n.Dataplane, want)
}
