package handoff

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteAndRead(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dir := filepath.Join(t.TempDir(), "run", "hopsack")
	path := filepath.Join(dir, "cni.json")

	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of a missing file: got %v, want fs.ErrNotExist", err)
	}
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || !got.Equal(sample()) {
		t.Errorf("got %+v, %v, want the sample", got, err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o644 {
		t.Errorf("mode: got %v, want 0644 under any umask", st.Mode())
	}

	bad := sample()
	bad.MTU = 1
	if err := Write(path, bad); err == nil || !strings.Contains(err.Error(), "mtu: got 1") {
		t.Errorf("Write of a bad file: got %v", err)
	}
	if got, err := Read(path); err != nil || !got.Equal(sample()) {
		t.Errorf("after the refused write: got %+v, %v, want the old file", got, err)
	}
	assertOnly(t, dir, "cni.json")
}

func TestReadNamesFileAndField(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.json")
	if err := os.WriteFile(path, []byte(`{"version":1,"bridge":"","mtu":1500,"subnets":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Read(path)
	if want := "parse " + path + ": bridge: empty"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestWriteFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cni.json")
	if err := os.MkdirAll(filepath.Join(path, "in-the-way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, sample()); err == nil {
		t.Error("rename over a directory: got no error")
	}
	assertOnly(t, dir, "cni.json")
}

// A reader never sees half a file, however often it is replaced.
func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.json")
	short := File{Version: 1, Bridge: "b", MTU: 1500}
	if err := Write(path, short); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for i := range 200 {
				f := short
				if i%2 == 0 {
					f = sample()
				}
				if err := Write(path, f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if f, err := Read(path); err != nil || !f.Equal(short) && !f.Equal(sample()) {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	assertOnly(t, filepath.Dir(path), "cni.json")
}

func assertOnly(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("left behind in %s: %v, want only %s", dir, fmt.Sprint(entries), want)
	}
}
