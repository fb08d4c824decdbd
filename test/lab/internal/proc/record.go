package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone says that the recorded process does not run any more.
var ErrGone = errors.New("process is gone")

// Record identifies one process for as long as the machine is up.
type Record struct {
	// Name tells records apart, for example "agent/n1".
	Name string `json:"name"`
	// PID is the process as seen from the root PID namespace.
	PID int `json:"pid"`
	// StartTicks is the kernel's start time of the process, in clock ticks since boot.
	StartTicks uint64 `json:"startTicks"`
	// BootID is the boot the PID belongs to.
	BootID string `json:"bootID"`
	// Argv is the command line, for people.
	Argv []string `json:"argv"`
	// Started is when the process was started.
	Started time.Time `json:"started"`
}

// NewRecord describes the running process pid.
func NewRecord(name string, pid int, argv []string) (Record, error) {
	boot, err := bootID()
	if err != nil {
		return Record{}, err
	}
	ticks, _, err := stat(pid)
	if err != nil {
		return Record{}, err
	}
	return Record{Name: name, PID: pid, StartTicks: ticks, BootID: boot, Argv: argv, Started: time.Now()}, nil
}

// Open returns a pidfd of the recorded process, which the caller closes. It returns ErrGone when the process has ended,
// also when another one has its PID now.
func (r Record) Open() (int, error) {
	boot, err := bootID()
	if err != nil {
		return 0, err
	}
	if r.PID <= 1 || r.BootID != boot {
		return 0, ErrGone
	}
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return 0, ErrGone
	}
	if err != nil {
		return 0, fmt.Errorf("open pidfd of %s (pid %d): %w", r.Name, r.PID, err)
	}
	ticks, state, err := stat(r.PID)
	if err != nil || state == "Z" || state == "X" || ticks != r.StartTicks {
		unix.Close(fd)
		return 0, ErrGone
	}
	return fd, nil
}

// Alive says whether the recorded process runs (a zombie does not).
func (r Record) Alive() bool {
	fd, err := r.Open()
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Stopped says whether the recorded process was stopped by a signal and has not been continued.
func (r Record) Stopped() bool {
	if !r.Alive() {
		return false
	}
	_, state, err := stat(r.PID)
	return err == nil && state == "T"
}

// Stop stops the recorded process where it is (SIGSTOP) and returns once all of it stands still, or ctx is done. A process
// that is gone is ErrGone.
func (r Record) Stop(ctx context.Context) error {
	fd, err := r.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil {
		return fmt.Errorf("signal %s (pid %d): %w", r.Name, r.PID, err)
	}
	for !r.Stopped() {
		if !r.Alive() {
			return ErrGone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s (pid %d) did not stop: %w", r.Name, r.PID, context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Signal sends sig. A process that is gone is success.
func (r Record) Signal(sig unix.Signal) error {
	fd, err := r.Open()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s (pid %d): %w", r.Name, r.PID, err)
	}
	return nil
}

// End sends sig and waits until the process has ended or ctx is done.
func (r Record) End(ctx context.Context, sig unix.Signal) error {
	fd, err := r.Open()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s (pid %d): %w", r.Name, r.PID, err)
	}
	for {
		// A pidfd turns readable when its process ends, also while nobody has reaped it.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for %s (pid %d): %w", r.Name, r.PID, err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s (pid %d) did not end: %w", r.Name, r.PID, context.Cause(ctx))
		}
	}
}

// stat returns the start time of pid and its state as the kernel names it: "T" stopped, "Z" a zombie.
func stat(pid int) (ticks uint64, state string, err error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", err
	}
	// The command name may hold spaces and parentheses; the fields after it begin behind the last one.
	i := bytes.LastIndexByte(raw, ')')
	fields := strings.Fields(string(raw[i+1:]))
	if i < 0 || len(fields) < 20 {
		return 0, "", fmt.Errorf("parse /proc/%d/stat: too few fields", pid)
	}
	ticks, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("parse /proc/%d/stat: %w", pid, err)
	}
	return ticks, fields[0], nil
}

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(raw)), nil
}
