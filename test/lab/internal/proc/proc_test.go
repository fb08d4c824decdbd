package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test program be the helper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == SpawnCommand {
		if err := Spawn(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, s Store, script string) Record {
	t.Helper()
	r, err := s.Start(os.Args[0], Command{Name: "agent/x", Argv: []string{"/bin/sh", "-c", script}, Log: filepath.Join(s.Dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Signal(unix.SIGKILL) })
	return r
}

// awaitLog waits until the log holds exactly want: a process that was started has not yet written.
func awaitLog(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got, _ = os.ReadFile(path); string(got) == want {
			return
		}
	}
	t.Fatalf("log: got %q, want %q", got, want)
}

func TestStartRecordsWhatRuns(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	r := start(t, s, "echo started; exec sleep 60")
	loaded, err := s.Load("agent/x")
	if err != nil {
		t.Fatal(err)
	}
	if loaded.PID != r.PID || !loaded.Alive() {
		t.Errorf("got pid %d, alive %t; want %d, alive", loaded.PID, loaded.Alive(), r.PID)
	}
	if sid, err := unix.Getsid(r.PID); err != nil || sid != r.PID {
		t.Errorf("session: got %d, %v; want one of its own", sid, err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 {
		t.Errorf("list: got %v, %v; want one record", list, err)
	}
	awaitLog(t, filepath.Join(s.Dir, "log"), "started\n")
	if err := r.End(t.Context(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if loaded.Alive() {
		t.Error("alive after its end")
	}
	if err := r.End(t.Context(), unix.SIGTERM); err != nil {
		t.Errorf("end of a process that is gone: %v", err)
	}
	if err := s.Remove("agent/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("agent/x"); !errors.Is(err, ErrGone) {
		t.Errorf("load after remove: got %v, want ErrGone", err)
	}
}

func TestStartOfAMissingProgram(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	_, err := s.Start(os.Args[0], Command{Name: "x", Argv: []string{"/no/such/program"}, Log: filepath.Join(s.Dir, "log")})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v, want an error that names the program", err)
	}
	if list, _ := s.List(); len(list) > 0 {
		t.Errorf("a record is left: %v", list)
	}
}

// A PID that was recycled belongs to somebody else: it must neither count as alive nor be signalled.
func TestRecycledPIDIsLeftAlone(t *testing.T) {
	bystander := exec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	real, err := NewRecord("x", bystander.Process.Pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	older, rebooted, initProcess := real, real, real
	older.StartTicks--
	rebooted.BootID = "another boot"
	initProcess.PID = 1
	for name, r := range map[string]Record{"started earlier": older, "from before a reboot": rebooted, "PID 1": initProcess, "empty": {}} {
		if r.Alive() {
			t.Errorf("%s: counts as alive", name)
		}
		if err := errors.Join(r.Signal(unix.SIGKILL), r.End(t.Context(), unix.SIGKILL)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !real.Alive() {
		t.Error("the bystander was killed")
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecord("x", cmd.Process.Pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Error("a process that nobody has reaped counts as alive")
	}
	_ = cmd.Wait()
}

func TestStop(t *testing.T) {
	r := start(t, Store{Dir: t.TempDir()}, "exec sleep 60")
	for range 2 {
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !r.Stopped() || !r.Alive() {
		t.Errorf("stopped %t, alive %t; want both", r.Stopped(), r.Alive())
	}
	if err := r.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); r.Stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not go on")
		}
	}
	if err := r.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context()); !errors.Is(err, ErrGone) || r.Stopped() {
		t.Errorf("stop of a process that is gone: %v, stopped %t; want ErrGone", err, r.Stopped())
	}
}

func TestEndGivesUp(t *testing.T) {
	r := start(t, Store{Dir: t.TempDir()}, `trap "" TERM; echo; while :; do sleep 0.05; done`)
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.End(ctx, unix.SIGTERM); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := r.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestListReportsBrokenRecords(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := s.Save(Record{Name: "good"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("bad"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if len(list) != 1 || list[0].Name != "good" || err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v, %v; want the good record and an error that names the bad one", list, err)
	}
}
