package sdnotify

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func listen(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// next reads the next message, "" when none comes within the time.
func next(t *testing.T, conn *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestServe(t *testing.T) {
	conn := listen(t)
	t.Setenv("WATCHDOG_USEC", "100000")
	var well atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, func(context.Context) error {
			if !well.Load() {
				return errors.New("not yet")
			}
			return nil
		})
	}()
	if got := next(t, conn, 300*time.Millisecond); got != "" {
		t.Errorf("before the check succeeded: got %q", got)
	}
	well.Store(true)
	for _, want := range []string{"READY=1\nSTATUS=running", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(t, conn, 10*time.Second); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	well.Store(false)
	for next(t, conn, 300*time.Millisecond) != "" {
	}
	if got := next(t, conn, 300*time.Millisecond); got != "" {
		t.Errorf("the watchdog was fed by a service that is not well: %q", got)
	}
	stop()
	if got := next(t, conn, 10*time.Second); got != "STOPPING=1" {
		t.Errorf("at the end: got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Serve(t.Context(), func(context.Context) error { return errors.New("asked") }); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if err := Serve(t.Context(), func(context.Context) error { return nil }); err == nil {
		t.Error("a socket that is not there: got no error")
	}
}
