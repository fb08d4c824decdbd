package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// Command is a process to start in the background.
type Command struct {
	// Name is the record's name; required.
	Name string
	// Argv is the command line, with the full path of the program first; required.
	Argv []string
	// Log is the file its output is appended to; required.
	Log string
	// Place is where it runs.
	Place ns.Place
}

// Start starts c in a session of its own, so that it outlives the caller, and saves its record in s.
func (s Store) Start(c Command) (Record, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return Record{}, err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Record{}, err
	}
	defer log.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Place.Start(cmd); err != nil {
		return Record{}, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return s.adopt(c, cmd)
}

// adopt records a process just started; a process that cannot be recorded is ended.
func (s Store) adopt(c Command, cmd *exec.Cmd) (Record, error) {
	r, err := NewRecord(c.Name, cmd.Process.Pid, c.Argv)
	if err == nil {
		err = s.Save(r)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return Record{}, fmt.Errorf("record %s: %w", c.Name, err)
	}
	// Reaped here while the caller lives; by PID 1 of its namespace after that.
	go func() { _ = cmd.Wait() }()
	return r, nil
}
