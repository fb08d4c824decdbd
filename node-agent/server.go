package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// health is what the endpoints tell.
type health struct {
	// ready is set while the last pass left the kernel as desired.
	ready atomic.Bool
	// busySince is when the pass that is running began, in Unix nanoseconds; 0 between passes.
	busySince atomic.Int64
}

// stuckAfter is how long a pass may take before the agent counts as hung.
const stuckAfter = 5 * time.Minute

func (h *health) live() error {
	if since := h.busySince.Load(); since != 0 {
		if d := time.Since(time.Unix(0, since)); d > stuckAfter {
			return fmt.Errorf("a pass has been running for %s", d.Round(time.Second))
		}
	}
	return nil
}

// serve answers /metrics on one address, /healthz and /readyz on the other, until ctx ends.
func (a *Agent) serve(ctx context.Context) error {
	probes := http.NewServeMux()
	probes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.health.live(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	probes.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.health.ready.Load() {
			http.Error(w, "the data path is not in place: see hopsack-agent status, or the NodeNetwork's conditions", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return listenAndServe(ctx, a.opts.HealthAddress, probes) })
	group.Go(func() error { return listenAndServe(ctx, a.opts.MetricsAddress, metrics) })
	return group.Wait()
}

// listenAndServe serves until ctx ends. An address of "" or "0" serves nothing.
func listenAndServe(ctx context.Context, address string, handler http.Handler) error {
	if address == "" || address == "0" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", address, err)
	}
	return nil
}
