package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// HoldCommand is the hidden subcommand of the helper program that becomes a holder; it calls Hold.
const HoldCommand = "hold-node"

// The descriptors a holder inherits: its Spec comes in on the first, "ok" or an error goes out on the second.
const (
	specFD  = 3
	readyFD = 4
)

// Bind is a directory of the host that the machine sees at another path.
type Bind struct {
	// Source is a directory that exists.
	Source string `json:"source"`
	// Target is where it appears; missing directories are made where only the machine sees them.
	Target string `json:"target"`
}

// Spec says how a machine is made.
type Spec struct {
	// Name is the host name, and the name in messages; required.
	Name string `json:"name"`
	// NetNS is the path of its network namespace, which exists; required.
	NetNS string `json:"netNS"`
	// Binds are mounted in order.
	Binds []Bind `json:"binds"`
	// Log takes what the holder has to say; required.
	Log string `json:"log"`
	// Computer makes it one that containers can run on; nil: a plain machine.
	Computer *Computer `json:"computer,omitempty"`
}

// RecordName is the name of the holder's record in the store.
func (s Spec) RecordName() string { return "machine/" + s.Name }

// Start starts the holder of s, with helper as its program, records it in store and returns once every mount is in place.
func Start(helper string, store proc.Store, s Spec) (proc.Record, error) {
	h, err := launch(helper, s)
	if err != nil {
		return proc.Record{}, fmt.Errorf("start machine %s: %w", s.Name, err)
	}
	defer h.close()
	r, err := proc.NewRecord(s.RecordName(), h.cmd.Process.Pid, h.cmd.Args)
	if err == nil {
		err = store.Save(r)
	}
	if err == nil {
		err = h.handshake(s)
	}
	if err != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		return proc.Record{}, errors.Join(fmt.Errorf("start machine %s: %w", s.Name, err), store.Remove(s.RecordName()))
	}
	go func() { _ = h.cmd.Wait() }()
	return r, nil
}

type holder struct {
	cmd   *exec.Cmd
	spec  *os.File
	ready *os.File
}

func (h *holder) close() {
	h.spec.Close()
	h.ready.Close()
}

// launch starts the holder process, which waits for its spec.
func launch(helper string, s Spec) (*holder, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	specR, specW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer specR.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		specW.Close()
		return nil, err
	}
	defer readyW.Close()
	h := &holder{cmd: exec.Command(helper, HoldCommand, s.Name), spec: specW, ready: readyR}
	h.cmd.Dir = "/"
	h.cmd.Stdout, h.cmd.Stderr = log, log
	h.cmd.ExtraFiles = []*os.File{specR, readyW}
	h.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	begin := h.cmd.Start
	if s.Computer != nil {
		begin = func() error { return s.Computer.startInside(h.cmd) }
	}
	if err := (ns.Place{NetNS: s.NetNS}).Do(begin); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// handshake hands the spec over and waits for the answer.
func (h *holder) handshake(s Spec) error {
	if err := json.NewEncoder(h.spec).Encode(s); err != nil {
		return fmt.Errorf("send spec: %w", err)
	}
	if err := h.spec.Close(); err != nil {
		return fmt.Errorf("send spec: %w", err)
	}
	answer, err := io.ReadAll(h.ready)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if text := strings.TrimSpace(string(answer)); text != "ok" {
		if text == "" {
			text = "holder ended without a word, see " + s.Log
		}
		return errors.New(text)
	}
	return nil
}
