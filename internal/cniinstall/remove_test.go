package cniinstall

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// distribution is a directory that holds what another package has put there: a plugin that hopsack brings as well, one that it
// brings and that is a link, and one that it does not know.
func distribution(t *testing.T) string {
	t.Helper()
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, elsewhere, "multicall", "multicall", 0o755)
	if err := os.Symlink(filepath.Join(elsewhere, "multicall"), filepath.Join(dir, "portmap")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "bridge", "the distribution's", 0o750)
	write(t, dir, "calico", "calico", 0o700)
	return dir
}

func install(t *testing.T, version, to string) {
	t.Helper()
	if _, err := Install(source(t, version), to); err != nil {
		t.Fatal(err)
	}
}

func TestRemove(t *testing.T) {
	for name, tc := range map[string]struct {
		do func(t *testing.T, dir string)
		// removed is what Remove says, want what the directory differs in from before.
		removed []string
		want    map[string]string
	}{
		"nothing installed": {do: func(*testing.T, string) {}},
		"installed": {
			do:      func(t *testing.T, dir string) { install(t, "1", dir) },
			removed: []string{"hopsack", "portmap", "host-local", "bridge"},
		},
		"installed twice": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				install(t, "1", dir)
			},
			removed: []string{"hopsack", "portmap", "host-local", "bridge"},
		},
		"upgraded and rolled back": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				install(t, "2", dir)
				install(t, "1", dir)
			},
			removed: []string{"hopsack", "portmap", "host-local", "bridge"},
		},
		"the distribution upgrades its own over it": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				write(t, dir, "bridge", "the distribution's new one", 0o755)
			},
			removed: []string{"hopsack", "portmap", "host-local"},
			want:    map[string]string{"bridge": "-rwxr-xr-x the distribution's new one"},
		},
		"the distribution upgrades its own, and hopsack after it": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				if err := os.Remove(filepath.Join(dir, "bridge")); err != nil { // as package managers do
					t.Fatal(err)
				}
				write(t, dir, "bridge", "the distribution's new one", 0o755)
				install(t, "2", dir)
			},
			removed: []string{"hopsack", "portmap", "host-local", "bridge"},
			want:    map[string]string{"bridge": "-rwxr-xr-x the distribution's new one"},
		},
		"somebody puts a plugin in a free place": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				write(t, dir, "host-local", "somebody's", 0o755)
			},
			removed: []string{"hopsack", "portmap", "bridge"},
			want:    map[string]string{"host-local": "-rwxr-xr-x somebody's"},
		},
		"somebody removes hopsack's": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				for _, name := range []string{"hopsack", "bridge"} {
					if err := os.Remove(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			},
			removed: []string{"portmap", "host-local"},
		},
		"the same plugin was there": {
			do: func(t *testing.T, dir string) {
				write(t, dir, "host-local", "host-local1", 0o755)
				install(t, "1", dir)
			},
			removed: []string{"hopsack", "portmap", "bridge"},
			want:    map[string]string{"host-local": "-rwxr-xr-x host-local1"},
		},
		"killed before it was recorded": {
			do: func(t *testing.T, dir string) {
				link(t, dir, "bridge", keptPrefix+"bridge")
				write(t, dir, tempPrefix+"1", "hal", 0o600)
			},
		},
		"killed before it was in place": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				link(t, dir, keptPrefix+"bridge", "bridge")
			},
			removed: []string{"hopsack", "portmap", "host-local"},
		},
		"killed while it was upgraded": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				link(t, dir, "bridge", tempPrefix+"old")
				install(t, "2", dir)
				if err := os.Rename(filepath.Join(dir, "bridge"), filepath.Join(dir, tempPrefix+"new")); err != nil {
					t.Fatal(err)
				}
				write(t, dir, "bridge", "bridge1", 0o755)
			},
			removed: []string{"hopsack", "portmap", "host-local", "bridge"},
		},
		"killed while it was removed": {
			do: func(t *testing.T, dir string) {
				install(t, "1", dir)
				if err := errors.Join(os.Remove(filepath.Join(dir, "hopsack")), os.Rename(filepath.Join(dir, keptPrefix+"portmap"), filepath.Join(dir, "portmap"))); err != nil {
					t.Fatal(err)
				}
			},
			removed: []string{"host-local", "bridge"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := distribution(t)
			want := list(t, dir)
			tc.do(t, dir)
			got, err := Remove(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.removed, got); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			for file, content := range tc.want {
				want[file] = content
			}
			if diff := cmp.Diff(want, list(t, dir)); diff != "" {
				t.Errorf("after it (-want +got):\n%s", diff)
			}
			if got, err := Remove(dir); err != nil || got != nil {
				t.Errorf("again: got %v, %v; want nothing to do", got, err)
			}
		})
	}
}

func link(t *testing.T, dir, from, to string) {
	t.Helper()
	place := filepath.Join(dir, to)
	if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, from), place); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveWithoutDirectory(t *testing.T) {
	if got, err := Remove(filepath.Join(t.TempDir(), "none")); err != nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// Nobody knows whose the plugins are when the record cannot be read: nothing is touched.
func TestDamagedRecord(t *testing.T) {
	dir := distribution(t)
	install(t, "1", dir)
	write(t, dir, recordName, "{", 0o644)
	before := list(t, dir)
	if got, err := Remove(dir); err == nil {
		t.Errorf("removed %v", got)
	}
	if got, err := Install(source(t, "2"), dir); err == nil {
		t.Errorf("installed %v", got)
	}
	if diff := cmp.Diff(before, list(t, dir)); diff != "" {
		t.Errorf("touched (-before +after):\n%s", diff)
	}
}

// What was there comes back as it was: the same file, not another one of that content.
func TestRemoveBringsTheFileBack(t *testing.T) {
	dir := distribution(t)
	before, err := os.Stat(filepath.Join(dir, "bridge"))
	if err != nil {
		t.Fatal(err)
	}
	install(t, "1", dir)
	if _, err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(dir, "bridge"))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("another file: %v, %v", after, err)
	}
}
