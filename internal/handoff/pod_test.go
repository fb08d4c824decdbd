package handoff

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPodRecord(t *testing.T) {
	dir := PodsDir(filepath.Join(t.TempDir(), "run", "cni.json"))
	want := Pod{ContainerID: "abc", IfName: "eth0", Netns: "/run/netns/abc"}
	path := filepath.Join(dir, "abc-eth0")
	if _, err := ReadPod(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want that there is none", err)
	}
	for range 2 { // an ADD that is repeated
		if err := WritePod(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadPod(path); err != nil || got != want {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("directory has %v, error %v, want the record alone", entries, err)
	}
	for range 2 {
		if err := RemovePod(dir, "abc", "eth0"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestReadPodRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"nothing":        "",
		"half a file":    `{"containerID":"abc","if`,
		"no container":   `{"ifname":"eth0","netns":"/run/netns/abc"}`,
		"no interface":   `{"containerID":"abc","netns":"/run/netns/abc"}`,
		"relative netns": `{"containerID":"abc","ifname":"eth0","netns":"abc"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "abc-eth0")
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadPod(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one that names %s", err, path)
			}
		})
	}
}

// A name from outside must not lead out of the directory.
func TestPodRecordStaysInItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pods")
	if err := WritePod(dir, Pod{ContainerID: "../../etc/x", IfName: "eth0", Netns: "/n"}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("directory has %v, error %v, want one record", entries, err)
	}
}

// Where the agent is a container it has /run/netns, and no link to it from /var/run, which runtimes name.
func TestPodNetnsIsWhereTheAgentSeesIt(t *testing.T) {
	for written, want := range map[string]string{
		"/var/run/netns/cni-1": "/run/netns/cni-1", "/run/netns/cni-1": "/run/netns/cni-1", "/proc/7/ns/net": "/proc/7/ns/net",
	} {
		dir := t.TempDir()
		if err := WritePod(dir, Pod{ContainerID: "a", IfName: "eth0", Netns: written}); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadPod(podPath(dir, "a", "eth0")); err != nil || got.Netns != want {
			t.Errorf("%s: got %q, %v; want %q", written, got.Netns, err, want)
		}
	}
}
