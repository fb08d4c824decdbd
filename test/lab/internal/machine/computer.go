package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/cgroup"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// JoinCommand is the hidden subcommand of the helper program that starts another one in the machine's control groups; it
// calls Join. It takes the place of proc.SpawnCommand.
const JoinCommand = "run-joined"

// Computer makes a machine one that a container runtime and a kubelet can run on.
type Computer struct {
	// Disk is an existing directory that keeps what is written to /etc, /opt, /usr and /var, over the host's. It must not lie
	// in one of them, nor on an overlay.
	Disk string `json:"disk"`
	// Cgroups are the machine's control groups, which exist; see package cgroup.
	Cgroups []cgroup.Hierarchy `json:"cgroups"`
	// Files are written at every start, by path; those of a directory that the machine does not have to itself would be the
	// host's.
	Files map[string]string `json:"files,omitempty"`
	// Sysctls are shown below /proc/sys in place of the host's own, by path ("vm/overcommit_memory"). For the kernel nothing
	// changes.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// overlaid are the directories of the host that the computer may write to on its own disk.
var overlaid = []string{"/etc", "/opt", "/usr", "/var"}

// plain are the directories that hold overlays themselves, or what must be linked to from there: an overlay cannot lie on
// another.
var plain = []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers"}

// startInside starts cmd in the machine's control groups and in a namespace that has them as its root.
func (c *Computer) startInside(cmd *exec.Cmd) error {
	// The thread is thrown away: see ns.Place.Do.
	if err := cgroup.JoinThread(c.Cgroups); err != nil {
		return err
	}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWCGROUP
	return cmd.Start()
}

// build mounts what the computer has on top of a plain machine. It comes after /run and before the binds.
func (c *Computer) build() error {
	if err := c.mountCgroups(); err != nil {
		return err
	}
	for _, dir := range overlaid {
		if err := c.overlay(dir); err != nil {
			return err
		}
	}
	for _, dir := range plain {
		source := filepath.Join(c.Disk, "plain", dir)
		if err := errors.Join(os.MkdirAll(source, 0o755), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	for path, content := range c.Files {
		if err := replaceFile(path, content); err != nil {
			return err
		}
	}
	return c.fakeSysctls()
}

// mountCgroups shows the machine's groups as if they were all there are.
func (c *Computer) mountCgroups() error {
	const base = "/sys/fs/cgroup"
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", base, err)
	}
	for _, h := range c.Cgroups {
		dir := filepath.Join(base, h.Name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, h.Options); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		for _, alias := range strings.Split(h.Name, ",") {
			if alias == h.Name {
				continue
			}
			if err := os.Symlink(h.Name, filepath.Join(base, alias)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Computer) overlay(dir string) error {
	upper, work := filepath.Join(c.Disk, "upper", dir), filepath.Join(c.Disk, "work", dir)
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("cover %s with %s: %w", dir, upper, err)
	}
	return nil
}

// replaceFile writes a file anew: the host's may be a link to somewhere else.
func replaceFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// fakeSysctls covers settings that are the host's. A kubelet compares them and, where they are right, writes nothing.
func (c *Computer) fakeSysctls() error {
	dir := filepath.Join(scratch, "sysctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, value := range c.Sysctls {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o444); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s as %s: %w", name, value, err)
		}
	}
	return nil
}

// Join is proc.Spawn for what belongs to the machine itself: it moves the caller, which runs on the machine, to the machine's
// control groups before it starts argv.
func Join(argv []string) error {
	// What is mounted here has the machine's own group as its root.
	files, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		return err
	}
	var own []cgroup.Hierarchy
	for _, file := range files {
		own = append(own, cgroup.Hierarchy{Dir: filepath.Dir(file)})
	}
	if err := cgroup.Join(own); err != nil {
		return err
	}
	// A process that asks for its group must see it as the machine does. It is started by this thread, so it inherits that.
	runtime.LockOSThread()
	fd, err := unix.Open("/proc/1/ns/cgroup", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Setns(fd, unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("enter control group namespace: %w", err)
	}
	return proc.Spawn(argv)
}
