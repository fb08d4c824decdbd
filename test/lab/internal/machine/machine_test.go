package machine

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// TestMain lets the test program be the holder.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == HoldCommand {
		fmt.Fprintln(os.Stderr, Hold())
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == JoinCommand {
		if err := Join(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newSpec(t *testing.T) (Spec, proc.Store) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces take root")
	}
	dir := t.TempDir()
	s := Spec{Name: "box", NetNS: filepath.Join(dir, "net"), Log: filepath.Join(dir, "log")}
	if err := ns.Create(s.NetNS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Delete(s.NetNS) })
	return s, proc.Store{Dir: filepath.Join(dir, "records")}
}

func startMachine(t *testing.T, s Spec, store proc.Store) proc.Record {
	t.Helper()
	r, err := Start(os.Args[0], store, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Signal(unix.SIGKILL) })
	return r
}

// run runs a script on the machine.
func run(t *testing.T, r proc.Record, script string) string {
	t.Helper()
	fd, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := (ns.Place{PIDFD: fd}).Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out.String())
	}
	return out.String()
}

func TestMachine(t *testing.T) {
	s, store := newSpec(t)
	disk := t.TempDir()
	if err := os.WriteFile(filepath.Join(disk, "file"), []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Binds = []Bind{
		{Source: disk, Target: "/etc/hopsack-test/deep"},
		{Source: disk, Target: "/run/hopsack-test"},
		{Source: disk, Target: "/var/lib/hopsack-test"},
	}
	r := startMachine(t, s, store)
	got := run(t, r, `hostname; echo $(ls /sys/class/net); cat /proc/1/comm | cut -c 1-7
		cat /etc/hopsack-test/deep/file /run/hopsack-test/file /var/lib/hopsack-test/file; echo; ls /etc/passwd; ls /run/netns; echo x >/run/mine`)
	want := "box\nlo\nmachine\nkeptkeptkept\n/etc/passwd\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, path := range []string{"/etc/hopsack-test", "/var/lib/hopsack-test", "/run/hopsack-test", "/run/mine"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is on the host", path)
		}
	}
}

func TestKillingTheHolderEndsEverything(t *testing.T) {
	s, store := newSpec(t)
	r := startMachine(t, s, store)
	run(t, r, `sleep 61.25 </dev/null >/dev/null 2>&1 & setsid sleep 61.25 </dev/null >/dev/null 2>&1 &`)
	if got := count(t, "sleep\x0061.25"); got != 2 {
		t.Fatalf("%d processes run on the machine, want 2", got)
	}
	if err := r.End(t.Context(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := count(t, "sleep\x0061.25"); got != 0 {
		t.Errorf("%d processes outlive the machine", got)
	}
}

func TestHolderReaps(t *testing.T) {
	s, store := newSpec(t)
	r := startMachine(t, s, store)
	run(t, r, `for i in 1 2 3 4 5 6 7 8; do (setsid sh -c "sleep 0.05" &) ; done`)
	deadline := time.Now().Add(5 * time.Second)
	for {
		states := run(t, r, `cat /proc/[0-9]*/stat 2>/dev/null | cut -d ' ' -f 3 | sort | uniq -c`)
		if !strings.Contains(states, "Z") && !strings.Contains(run(t, r, "cat /proc/[0-9]*/comm"), "sleep") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process states: %s", states)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A starter that dies before it has recorded the holder leaves none.
func TestHolderEndsWithoutASpec(t *testing.T) {
	s, _ := newSpec(t)
	h, err := launch(os.Args[0], s)
	if err != nil {
		t.Fatal(err)
	}
	h.close()
	done := make(chan error, 1)
	go func() { done <- h.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = h.cmd.Process.Kill()
		t.Fatal("the holder waits forever")
	}
}

func TestStartFailsInWords(t *testing.T) {
	s, store := newSpec(t)
	s.Binds = []Bind{{Source: "/no/such/directory", Target: "/mnt"}}
	_, err := Start(os.Args[0], store, s)
	if err == nil || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("got %v, want an error that names the directory", err)
	}
	if records, _ := store.List(); len(records) > 0 {
		t.Errorf("a record is left: %v", records)
	}
}

func TestHoldRefusesToRunOutside(t *testing.T) {
	if err := Hold(); err == nil || !strings.Contains(err.Error(), "not PID 1") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// count returns how many processes of the whole host have the command line.
func count(t *testing.T, cmdline string) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(raw), cmdline) {
			n++
		}
	}
	return n
}
