package ns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Place names the namespaces something runs in. The zero value is the caller's own namespaces.
type Place struct {
	// PIDFD is a pidfd of a process whose mount, network, PID, UTS and IPC namespaces are entered; 0 enters none of them.
	// The caller keeps it open and closes it.
	PIDFD int
	// NetNS is the path of a network namespace, looked up after PIDFD's mount namespace was entered; "" keeps the one so far.
	NetNS string
	// FreshSys mounts a /sys that shows the network namespace entered, in a mount namespace that only this place sees.
	FreshSys bool
}

// Do runs fn in p on a thread that is thrown away afterwards. fn may create sockets and start processes, which stay in p,
// but must not start goroutines that rely on it.
func (p Place) Do(fn func() error) error {
	return onThread(func() error {
		if err := p.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// Start starts cmd in p. The PID it gets is the one seen from the caller's PID namespace.
func (p Place) Start(cmd *exec.Cmd) error {
	if cmd.Dir == "" {
		// Entering a mount namespace moves the thread to its root directory.
		if dir, err := os.Getwd(); err == nil {
			cmd.Dir = dir
		}
	}
	return p.Do(cmd.Start)
}

// InNetNS runs fn on a thread of its own inside the network namespace at path. Sockets that fn opens stay there.
func InNetNS(path string, fn func() error) error { return Place{NetNS: path}.Do(fn) }

func (p Place) enter() error {
	if p.PIDFD != 0 {
		// A thread that shares its root and working directory with others may not change mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare file system context: %w", err)
		}
		const all = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
		if err := unix.Setns(p.PIDFD, all); err != nil {
			return fmt.Errorf("enter namespaces of the node: %w", err)
		}
	}
	if p.NetNS != "" {
		if err := enterNet(p.NetNS); err != nil {
			return err
		}
	}
	if p.FreshSys {
		return mountFreshSys()
	}
	return nil
}

func enterNet(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

func mountFreshSys() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return nil
}

// onThread runs fn on a locked thread and lets the thread end with the goroutine, so that namespaces fn entered can never
// be met by other goroutines.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread never ends, and /proc/self stands for it. While it waits here the next goroutine gets
			// another one.
			done <- onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		done <- fn()
	}()
	return <-done
}
