package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// SpawnCommand is the hidden subcommand of the helper program that calls Spawn.
const SpawnCommand = "run-spawn"

// spawnFD is the socket on which Spawn answers.
const spawnFD = 3

// Command is a process to start in the background.
type Command struct {
	// Name is the record's name; required.
	Name string
	// Argv is the command line, with the full path of the program first; required.
	Argv []string
	// Log is the file its output is appended to; required.
	Log string
	// Env is its environment; nil: the caller's.
	Env []string
	// Place is where it runs.
	Place ns.Place
	// Spawn is the hidden subcommand of the helper that calls Spawn in the end; empty: SpawnCommand.
	Spawn string
}

// Start starts c in a session of its own, so that it outlives the caller, and saves its record in s.
//
// The process is the child of one that has ended already (helper, running Spawn), and that one ran in c's PID namespace. So
// PID 1 of that namespace inherits and reaps it. Were it a child of the caller, the machine's PID 1 would inherit it, and a
// PID namespace whose processes nobody reaps cannot end.
func (s Store) Start(helper string, c Command) (Record, error) {
	pidfd, err := spawn(helper, c)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer unix.Close(pidfd)
	pid, err := pidOf(pidfd)
	var r Record
	if err == nil {
		r, err = NewRecord(c.Name, pid, c.Argv)
	}
	if err == nil {
		err = s.Save(r)
	}
	if err != nil {
		return Record{}, errors.Join(fmt.Errorf("record %s: %w", c.Name, err), unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0))
	}
	return r, nil
}

// spawn runs the helper, which starts c, and returns the pidfd it hands over.
func spawn(helper string, c Command) (int, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return -1, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return -1, err
	}
	defer log.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "spawn")
	hidden := c.Spawn
	if hidden == "" {
		hidden = SpawnCommand
	}
	cmd := exec.Command(helper, append([]string{hidden}, c.Argv...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = "/"
	cmd.Env = c.Env
	err = c.Place.Start(cmd)
	theirs.Close()
	if err != nil {
		return -1, err
	}
	pidfd, err := receive(pair[0])
	return pidfd, errors.Join(err, cmd.Wait())
}

// Spawn starts argv in a session of its own with the caller's output, and hands a pidfd of it to the process that started
// the caller. Only a process started by Store.Start may call it, and it must end soon after.
func Spawn(argv []string) error {
	unix.CloseOnExec(spawnFD)
	if len(argv) == 0 {
		return errors.New("spawn: no command given; this command is for the lab itself")
	}
	var pidfd int
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		return unix.Sendmsg(spawnFD, []byte(err.Error()), nil, nil, 0)
	}
	return unix.Sendmsg(spawnFD, []byte("ok"), unix.UnixRights(pidfd), nil, 0)
}

// receive reads the answer of Spawn.
func receive(socket int) (int, error) {
	text := make([]byte, 4096)
	rights := make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := unix.Recvmsg(socket, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receive pidfd: %w", err)
	}
	if rn == 0 {
		if n == 0 {
			return -1, errors.New("the helper ended without a word")
		}
		return -1, errors.New(string(text[:n]))
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return -1, fmt.Errorf("receive pidfd: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, fmt.Errorf("receive pidfd: %w", err)
	}
	return fds[0], nil
}

// pidOf returns the process that a pidfd stands for, as the caller's PID namespace numbers it.
func pidOf(pidfd int) (int, error) {
	raw, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(raw) {
		if text, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
			if err == nil && pid <= 0 {
				err = ErrGone
			}
			return pid, err
		}
	}
	return 0, errors.New("pidfd shows no PID")
}
