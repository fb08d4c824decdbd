package cni

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// records lists the names of the files in the directory of records.
func (n *node) records(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(handoff.PodsDir(n.handoff))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	slices.Sort(list)
	return list
}

// A pod has a record from ADD to DEL, by which the agent finds its namespace.
func TestRecordLivesAsLongAsThePod(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24"))
	first, second := newPod(t, "pod-1"), newPod(t, "pod-2")
	n.add(t, first)
	n.add(t, second)
	if diff := cmp.Diff([]string{"pod-1-eth0", "pod-2-eth0"}, n.records(t)); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
	got, err := handoff.ReadPod(filepath.Join(handoff.PodsDir(n.handoff), "pod-1-eth0"))
	want := handoff.Pod{ContainerID: "pod-1", IfName: "eth0", Netns: first.path()}
	if err != nil || got != want {
		t.Errorf("got record %+v, error %v, want %+v", got, err, want)
	}
	if err := n.check(t, first); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	n.del(t, first)
	n.del(t, first) // a runtime may repeat it
	if diff := cmp.Diff([]string{"pod-2-eth0"}, n.records(t)); diff != "" {
		t.Errorf("records after DEL (-want +got):\n%s", diff)
	}
}

func TestGCRemovesRecords(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24"))
	keep, lost := newPod(t, "keep"), newPod(t, "lost")
	n.add(t, keep)
	n.add(t, lost)
	dir := handoff.PodsDir(n.handoff)
	old := time.Now().Add(-time.Hour)
	for name, changed := range map[string]time.Time{".killed-eth0.1": old, ".writing-eth0.2": time.Now(), "garbage": old} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("{"), 0o644), os.Chtimes(path, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.gc(t, keep); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".writing-eth0.2", "keep-eth0"}, n.records(t)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// The agent writes a new mtu into the hand-off and then visits the pods that have a record. A pod on its way must be one of them
// when it looks at the hand-off for the last time, or nobody tells it.
func TestRecordComesBeforeTheLastLook(t *testing.T) {
	f := file("10.244.1.0/24")
	n, p := newNode(t, f), newPod(t, "pod-1")
	content, err := handoff.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan []string, 1)
	err = n.addWhile(t, p, func() error { // a pipe tells when it is read
		if err := errors.Join(os.Remove(n.handoff), unix.Mkfifo(n.handoff, 0o600)); err != nil {
			return err
		}
		go func() {
			pipe, err := os.OpenFile(n.handoff, os.O_WRONLY, 0)
			if err != nil {
				return
			}
			defer pipe.Close()
			seen <- n.records(t)
			_, _ = pipe.Write(content)
		}()
		return nil
	})
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	if diff := cmp.Diff([]string{"pod-1-eth0"}, <-seen); diff != "" {
		t.Errorf("records while the hand-off is read again (-want +got):\n%s", diff)
	}
}
