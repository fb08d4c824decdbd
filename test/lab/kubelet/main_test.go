package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

// upEnv makes the test program start the lab whose base directory it names, and nothing else.
const upEnv = "HOPSACK_TEST_UP"

// TestMain lets the test program stand in for the lab's helper, and for a `lab up` that can be killed.
func TestMain(m *testing.M) {
	if handled, err := lab.RunHidden(os.Args[1:]); handled {
		exit(err)
	}
	if base := os.Getenv(upEnv); base != "" {
		exit(upAlone(base))
	}
	if os.Geteuid() != 0 {
		exit(fmt.Errorf("the lab's tests make network namespaces: run them as root"))
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func upAlone(base string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := lab.OpenConfig(lab.Config{Dir: filepath.Join(base, "state"), BinDir: filepath.Join(base, "bin"), Helper: self, Out: os.Stdout})
	if err != nil {
		return err
	}
	return c.Up(context.Background(), lab.Options{Nodes: 2, Routed: 1, Kubelet: &lab.KubeletOptions{}})
}

// newCluster returns a handle on a lab of its own, which is taken down with the test. Its programs are links that a test may
// replace.
func newCluster(t *testing.T) *lab.Cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	bin := filepath.Join(base, "bin")
	if err := os.MkdirAll(filepath.Join(bin, "kubelet"), 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(root, "kubelet", "*"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no programs in %s (%v): build them with `make kubelet-lab`", filepath.Join(root, "kubelet"), err)
	}
	links := map[string]string{"controlplane": filepath.Join(root, "controlplane"), "cni": filepath.Join(root, "cni")}
	for _, path := range programs {
		links[filepath.Join("kubelet", filepath.Base(path))] = path
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := lab.OpenConfig(lab.Config{Dir: filepath.Join(base, "state"), BinDir: bin, Helper: self, Out: writer{t}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tailLogs(t, c)
		}
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// binDir is where the programs of a cluster of newCluster are.
func binDir(c *lab.Cluster) string { return filepath.Join(filepath.Dir(c.Dir()), "bin") }

// writer sends progress to the test's log.
type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// tailLogs shows what the components said last.
func tailLogs(t *testing.T, c *lab.Cluster) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(c.Dir(), "logs", "*.log"))
	if err != nil {
		t.Error(err)
	}
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// within gives a test a deadline of its own.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func kubectl(t *testing.T, c *lab.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func onNode(t *testing.T, c *lab.Cluster, node, script string) string {
	t.Helper()
	out, err := c.Exec(t.Context(), node, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func apply(t *testing.T, c *lab.Cluster, yaml string) {
	t.Helper()
	if out, err := c.Apply(t.Context(), yaml); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
}

// snapshot is what a lab could leave on the machine.
type snapshot struct {
	mounts  string
	sysctls string
	cgroups []string
	// dirs are those that nodes make, as far as the machine has them itself.
	dirs []string
}

func takeSnapshot(t *testing.T) snapshot {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot{mounts: string(mounts)}
	for _, name := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "net/netfilter/nf_conntrack_max"} {
		// A machine may lack one.
		value, _ := os.ReadFile(filepath.Join("/proc/sys", name))
		s.sysctls += name + " " + string(bytes.TrimSpace(value)) + "\n"
	}
	for _, dir := range []string{"/run/containerd", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods", "/etc/cni", "/opt/cni"} {
		if _, err := os.Stat(dir); err == nil {
			s.dirs = append(s.dirs, dir)
		}
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "hs-n") {
			s.cgroups = append(s.cgroups, path)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// nothingLeft fails the test for everything of the lab that is still there, the logs aside.
func nothingLeft(t *testing.T, c *lab.Cluster, before snapshot) {
	t.Helper()
	after := takeSnapshot(t)
	if after.mounts != before.mounts {
		t.Errorf("mounts: got\n%s\nwant\n%s", after.mounts, before.mounts)
	}
	if after.sysctls != before.sysctls {
		t.Errorf("settings of the machine: got\n%s\nwant\n%s", after.sysctls, before.sysctls)
	}
	if !slices.Equal(after.cgroups, before.cgroups) {
		t.Errorf("control groups: got %q, want %q", after.cgroups, before.cgroups)
	}
	if !slices.Equal(after.dirs, before.dirs) {
		t.Errorf("directories of the machine: got %q, want %q", after.dirs, before.dirs)
	}
	for _, pattern := range []string{"/run/netns/hs-*", "/run/hopsack-lab"} {
		if names, err := filepath.Glob(pattern); err != nil || len(names) > 0 {
			t.Errorf("left: %q, %v", names, err)
		}
	}
	entries, _ := os.ReadDir(c.Dir())
	for _, e := range entries {
		if e.Name() != "logs" {
			t.Errorf("%s is left in the state directory", e.Name())
		}
	}
	for _, pid := range processesOf(filepath.Dir(c.Dir())) {
		t.Errorf("process %s of the lab is left", pid)
	}
}

// processesOf returns who else has to do with a directory: containers by what they have mounted, all others by their command
// lines.
func processesOf(dir string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, cmdline := range files {
		process := filepath.Dir(cmdline)
		// A process may have ended meanwhile.
		argv, _ := os.ReadFile(cmdline)
		mounts, _ := os.ReadFile(filepath.Join(process, "mountinfo"))
		pid := filepath.Base(process)
		if pid != fmt.Sprint(os.Getpid()) && (bytes.Contains(argv, []byte(dir)) || bytes.Contains(mounts, []byte(dir))) {
			out = append(out, pid)
		}
	}
	return out
}
