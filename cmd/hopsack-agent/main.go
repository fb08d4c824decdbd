// Command hopsack-agent runs on every node: it turns the node's NodeNetwork and its peers' leases into kernel state.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hopsack-agent:", err)
		os.Exit(1)
	}
}
