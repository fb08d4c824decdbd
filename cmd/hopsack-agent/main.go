// Command hopsack-agent runs on every node: it turns the node's NodeNetwork and its peers' leases into kernel state.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hopsack-net/hopsack/internal/rewind"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if errors.Is(err, rewind.ErrRewound) {
		fmt.Fprintln(os.Stderr, "hopsack-agent: starting afresh:", err)
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hopsack-agent:", err)
		os.Exit(1)
	}
}
