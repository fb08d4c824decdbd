package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// firstLook is how often the check is asked before the service is ready, in time for dependents that wait for it.
const firstLook = 100 * time.Millisecond

// Serve tells systemd that the service is ready once alive returns nil, feeds the watchdog while it does, and says so when
// ctx ends. It returns when ctx ends, or at once where no systemd asked to be told.
func Serve(ctx context.Context, alive func(context.Context) error) error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	conn, err := dial(address)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	// Half of what systemd waits, as its documentation advises; nothing is to be fed where there is no watchdog.
	feed := watchdog(os.Getenv("WATCHDOG_USEC")) / 2
	wait, ready := firstLook, false
	for {
		if err := alive(ctx); err == nil && ctx.Err() == nil {
			message := "WATCHDOG=1"
			if !ready {
				message, ready = "READY=1\nSTATUS=running", true
				if feed == 0 {
					feed = time.Minute
				}
				wait = feed
			}
			if _, err := conn.Write([]byte(message)); err != nil {
				return fmt.Errorf("tell systemd: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			_, err := conn.Write([]byte("STOPPING=1"))
			return err
		case <-time.After(wait):
		}
	}
}

// dial reaches the socket; an address that begins with @ is in the abstract namespace.
func dial(address string) (net.Conn, error) {
	if name, ok := strings.CutPrefix(address, "@"); ok {
		address = "\x00" + name
	}
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
}

// watchdog is the time systemd waits for a sign of life; 0: for ever.
func watchdog(usec string) time.Duration {
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}
