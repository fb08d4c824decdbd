package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/cgroup"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// newComputer returns the spec of a machine with everything a kubelet needs; its groups go with the test.
func newComputer(t *testing.T) Spec {
	t.Helper()
	s, _ := newSpec(t)
	parents, err := cgroup.Own()
	if err != nil {
		t.Fatal(err)
	}
	places := cgroup.Child(parents, "hopsack-test-computer")
	if err := cgroup.Make(places); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := cgroup.Remove(ctx, places); err != nil {
			t.Error(err)
		}
	})
	s.Computer = &Computer{
		Disk: t.TempDir(), Cgroups: places,
		Files:   map[string]string{"/etc/hostname": "box\n", "/etc/resolv.conf": ""},
		Sysctls: map[string]string{"kernel/panic": "17"},
	}
	return s
}

// startJoined starts a process in the computer's control groups.
func startJoined(t *testing.T, store proc.Store, r proc.Record, self string) proc.Record {
	t.Helper()
	fd, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	joined, err := store.Start(self, proc.Command{
		Name: "joined", Argv: []string{"/bin/sleep", "61"}, Log: filepath.Join(t.TempDir(), "log"),
		Place: ns.Place{PIDFD: fd}, Spawn: JoinCommand,
	})
	if err != nil {
		t.Fatal(err)
	}
	return joined
}

func equalLines(text string) bool {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return len(lines) == 2 && lines[0] == lines[1]
}

func TestComputer(t *testing.T) {
	s := newComputer(t)
	_, store := newSpec(t)
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil {
		t.Fatal(err)
	}
	r := startMachine(t, s, store)
	got := run(t, r, `cat /etc/hostname /proc/sys/kernel/panic; wc -c </etc/resolv.conf; mkdir /sys/fs/cgroup/pids/below
		echo x >/opt/hopsack-test; echo x >/var/lib/kubelet/hopsack-test; findmnt -no PROPAGATION /`)
	if want := "box\n17\n0\nshared\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	joined := startJoined(t, store, r, self)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", joined.PID))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(raw), "/hopsack-test-computer\n"); got != len(s.Computer.Cgroups) {
		t.Errorf("what was started joined is in %d of %d groups:\n%s", got, len(s.Computer.Cgroups), raw)
	}
	if got := run(t, r, "readlink /proc/1/ns/cgroup; readlink /proc/$(pgrep -xn sleep)/ns/cgroup"); !equalLines(got) {
		t.Errorf("namespaces of control groups: got %s", got)
	}
	if after, err := os.ReadFile("/proc/sys/kernel/panic"); err != nil || string(after) != string(before) {
		t.Errorf("the host's kernel.panic: got %q, %v; it was %q", after, err, before)
	}
	if err := r.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/opt/hopsack-test"); err == nil {
		t.Error("/opt/hopsack-test is on the host")
	}
	again := startMachine(t, s, store)
	if got := run(t, again, "cat /opt/hopsack-test /var/lib/kubelet/hopsack-test"); got != "x\nx\n" {
		t.Errorf("the disk after a second start: got %q", got)
	}
	if err := again.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), s.Computer.Disk) {
		t.Errorf("the computer's mounts are the host's, too (%v)", err)
	}
}
