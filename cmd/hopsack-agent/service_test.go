package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asAgent in the environment makes the test program the agent.
const asAgent = "HOPSACK_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const nowhere = `
apiVersion: v1
kind: Config
current-context: x
clusters: [{name: x, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: x, user: {token: x}}]
contexts: [{name: x, context: {cluster: x, user: x}}]
`

// What systemd hears of an agent on a node whose API server does not answer: nothing until it works, that it works, that it
// goes on working, and that it stops.
func TestTellsSystemd(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("kubeconfig"), []byte(nowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	// Whoever reads it waits until somebody writes: the agent hangs before it has begun.
	if err := unix.Mkfifo(file("boot_id"), 0o600); err != nil {
		t.Fatal(err)
	}
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: file("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh", self, "--node-name=n1", "--kubeconfig="+file("kubeconfig"),
		"--boot-id-file="+file("boot_id"), "--run-dir="+file("run"), "--state-dir="+file("state"), "--cni-conf-dir="+file("cni"), "--subnet-file="+file("subnet.env"))
	cmd.Env = append(os.Environ(), asAgent+"=1", "NOTIFY_SOCKET="+file("notify"), "WATCHDOG_USEC=400000")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()

	hears := func(want string, within time.Duration) {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 256)
		n, err := systemd.Read(got)
		if string(got[:n]) != want {
			t.Fatalf("systemd heard %q (%v), want %q", got[:n], err, want)
		}
	}
	const patience = 30 * time.Second
	hears("", time.Second) // nobody who hangs says anything
	if err := os.WriteFile(file("boot_id"), []byte("b1\n"), 0); err != nil {
		t.Fatal(err)
	}
	hears("READY=1\nSTATUS=running", patience)
	hears("WATCHDOG=1", patience)
	hears("WATCHDOG=1", patience)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for heard := make([]byte, 256); ; {
		if err := systemd.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := systemd.Read(heard)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(heard[:n]); text == "STOPPING=1" {
			break
		} else if text != "WATCHDOG=1" {
			t.Fatalf("systemd heard %q", text)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}
