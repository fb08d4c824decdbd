package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Hold is what the holder process does: it reads its Spec, makes the machine and keeps it until it is killed, reaping
// what PID 1 has to reap. It returns only on failure. Only a process started by Start may call it.
func Hold() error {
	if os.Getpid() != 1 {
		return errors.New("hold: not PID 1 of a machine; this command is for the lab itself")
	}
	spec := os.NewFile(specFD, "spec")
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(specFD)
	unix.CloseOnExec(readyFD)
	var s Spec
	if err := json.NewDecoder(spec).Decode(&s); err != nil {
		// The starter died before it could record this process.
		return fmt.Errorf("read spec: %w", err)
	}
	spec.Close()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	if err := build(s); err != nil {
		fmt.Fprintln(ready, err)
		return err
	}
	fmt.Fprintln(ready, "ok")
	ready.Close()
	for range children {
		reap()
	}
	return nil
}

// reap collects every child that has ended. One SIGCHLD may stand for many.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

// build sets up host name and mounts. Order matters: sources are opened while the host's tree is still visible, and
// /proc comes before everything that refers to /proc/self.
func build(s Spec) error {
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	sources, err := openSources(s.Binds)
	if err != nil {
		return err
	}
	defer func() {
		for _, fd := range sources {
			unix.Close(fd)
		}
	}()
	if err := mountSystem(); err != nil {
		return err
	}
	t := tree{overlaid: map[string]bool{}}
	if s.Computer != nil {
		if err := s.Computer.build(); err != nil {
			return err
		}
		for _, dir := range overlaid {
			t.overlaid[dir] = true
		}
	}
	for i, b := range s.Binds {
		if err := t.ensureDir(b.Target); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", sources[i]), b.Target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s to %s: %w", b.Source, b.Target, err)
		}
	}
	if s.Computer == nil {
		return nil
	}
	// What a container mounts for its node must reach the node, and what the node mounts its containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared: %w", err)
	}
	return nil
}

func openSources(binds []Bind) ([]int, error) {
	var fds []int
	for _, b := range binds {
		fd, err := unix.Open(b.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", b.Source, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
