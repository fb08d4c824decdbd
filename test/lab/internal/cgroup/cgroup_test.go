package cgroup

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	shared = `25 20 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
26 20 0:23 /docker/7 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
27 20 0:24 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
28 20 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
29 20 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
30 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	unified = "30 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
)

// init keeps the process's first thread for the main goroutine: it never ends, so it must not be the one that joins groups.
func init() { runtime.LockOSThread() }

func TestOwn(t *testing.T) {
	places := "5:cpu,cpuacct:/user\n4:memory:/docker/7/inner\n3:cpuset:/\n2:pids:/user\n1:name=systemd:/user\n0::/user\n9:perf_event:/\n"
	got, err := own(strings.NewReader(places), strings.NewReader(shared))
	if err != nil {
		t.Fatal(err)
	}
	want := []Hierarchy{
		{Name: "cpu,cpuacct", Options: "cpu,cpuacct", Dir: "/sys/fs/cgroup/cpu,cpuacct/user"},
		{Name: "memory", Options: "memory", Dir: "/sys/fs/cgroup/memory/inner"},
		{Name: "cpuset", Options: "cpuset", Dir: "/sys/fs/cgroup/cpuset"},
		{Name: "pids", Options: "pids", Dir: "/sys/fs/cgroup/pids/user"},
		{Name: "systemd", Options: "none,name=systemd", Dir: "/sys/fs/cgroup/systemd/user"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

func TestOwnRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ places, mounts, want string }{
		"version 2":         {"0::/user\n", unified, "control groups of version 1"},
		"out of the mount":  {"4:memory:/other\n", shared, "shows /docker/7 only"},
		"a lost controller": {"3:cpuset:/\n", shared, `"cpu"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := own(strings.NewReader(tc.places), strings.NewReader(tc.mounts)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestGroupsHoldAProcessAndGoWithIt(t *testing.T) {
	parents, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	places := Child(parents, "hopsack-test")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = Remove(ctx, places)
	})
	for range 2 {
		if err := Make(places); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(places[0].Dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := JoinThread(places)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(raw), "/hopsack-test\n"); got != len(places) {
		t.Errorf("the process is in %d of %d groups:\n%s", got, len(places), raw)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for range 2 {
		if err := Remove(ctx, places); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range places {
		if _, err := os.Stat(h.Dir); err == nil {
			t.Errorf("%s is left", h.Dir)
		}
	}
}
