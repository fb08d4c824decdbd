package cniinstall

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, dir, name, content string, perm os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), perm); err != nil {
		t.Fatal(err)
	}
}

// source is a directory of plugins whose content is their name and the given version.
func source(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"bridge", "hopsack", "host-local", "portmap"} {
		write(t, dir, name, name+version, 0o755)
	}
	return dir
}

// list is what lies in a directory: name, permissions, content. Of the record it shows that it is there.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = info.Mode().String() + " " + string(content)
		if e.Name() == recordName {
			out[e.Name()] = "record"
		}
	}
	return out
}

func TestInstall(t *testing.T) {
	to := t.TempDir()
	elsewhere := t.TempDir()
	write(t, elsewhere, "portmap", "the distribution's", 0o755)
	if err := os.Symlink(filepath.Join(elsewhere, "portmap"), filepath.Join(to, "portmap")); err != nil {
		t.Fatal(err)
	}
	write(t, to, "bridge", "bridge1", 0o644)
	write(t, to, "calico", "calico", 0o700)
	write(t, to, tempPrefix+"123", "half", 0o600)

	got, err := Install(source(t, "1"), to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bridge", "host-local", "portmap", "hopsack"}, got); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	want := map[string]string{
		"bridge": "-rwxr-xr-x bridge1", "hopsack": "-rwxr-xr-x hopsack1", "host-local": "-rwxr-xr-x host-local1",
		"portmap": "-rwxr-xr-x portmap1", "calico": "-rwx------ calico",
		recordName: "record", keptPrefix + "bridge": "-rw-r--r-- bridge1", keptPrefix + "portmap": "Lrwxrwxrwx the distribution's",
	}
	if diff := cmp.Diff(want, list(t, to)); diff != "" {
		t.Errorf("after the first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"portmap": "-rwxr-xr-x the distribution's"}, list(t, elsewhere)); diff != "" {
		t.Errorf("behind the link (-want +got):\n%s", diff)
	}

	if got, err = Install(source(t, "1"), to); err != nil || got != nil {
		t.Errorf("again: got %v, %v; want nothing to do", got, err)
	}
	if got, err = Install(source(t, "2"), to); err != nil || len(got) != 4 {
		t.Errorf("another version: got %v, %v; want all four", got, err)
	}
}

// A plugin that runs while it is replaced goes on: what it was started from is not written to.
func TestInstallWhileAPluginRuns(t *testing.T) {
	to := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, "hopsack", string(content), 0o755)
	running := exec.Command(filepath.Join(to, "hopsack"), "60")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		running.Process.Kill()
		running.Wait()
	})
	if _, err := Install(source(t, "1"), to); err != nil {
		t.Fatal(err)
	}
	if got := list(t, to)["hopsack"]; got != "-rwxr-xr-x hopsack1" {
		t.Errorf("the running plugin was not replaced: got %.40q", got)
	}
}

func TestInstallRefuses(t *testing.T) {
	for name, tc := range map[string]func(t *testing.T) (from, to string){
		"no source": func(t *testing.T) (string, string) { return filepath.Join(t.TempDir(), "none"), t.TempDir() },
		"no target": func(t *testing.T) (string, string) { return source(t, "1"), filepath.Join(t.TempDir(), "none") },
		"a source without the plugin itself": func(t *testing.T) (string, string) {
			from := t.TempDir()
			write(t, from, "bridge", "bridge", 0o755)
			return from, t.TempDir()
		},
		"a directory among the plugins": func(t *testing.T) (string, string) {
			from := source(t, "1")
			if err := os.Mkdir(filepath.Join(from, "dir"), 0o755); err != nil {
				t.Fatal(err)
			}
			return from, t.TempDir()
		},
		"a directory in a plugin's place": func(t *testing.T) (string, string) {
			to := t.TempDir()
			if err := os.Mkdir(filepath.Join(to, "hopsack"), 0o755); err != nil {
				t.Fatal(err)
			}
			return source(t, "1"), to
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := tc(t)
			if got, err := Install(from, to); err == nil {
				t.Errorf("got %v, want an error", got)
			}
			for _, pattern := range []string{tempPrefix + "*", keptPrefix + "*"} {
				if left, err := filepath.Glob(filepath.Join(to, pattern)); err != nil || len(left) != 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			}
		})
	}
}
