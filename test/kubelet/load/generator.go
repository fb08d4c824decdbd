package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// RequestTimeout bounds a request, from when it is due to be sent until its answer has been read.
	RequestTimeout = 10 * time.Second
	// keptConnections is how many kept connections a client has: enough to reach several pods behind a Service.
	keptConnections = 4
	// maxCatchUp is how late requests are still sent. What was due longer ago is left out: a burst would be load nobody asked for.
	maxCatchUp = 200 * time.Millisecond
	// warmUp bounds the time until every client has had its first answer.
	warmUp = time.Minute
)

// Kind says which way requests take.
type Kind string

// The kinds.
const (
	FromPods    Kind = "pod->ClusterIP"
	FromOutside Kind = "client->NodePort"
	FromNodes   Kind = "node->ClusterIP"
)

// Client asks one address, over kept and over new connections in equal shares.
type Client struct {
	// Name is who asks, for errors. Required.
	Name string
	Kind Kind
	// NetNS is the path of the network namespace it asks from. Required.
	NetNS string
	// Target is what it asks. Required.
	Target netip.AddrPort
	// Rate is requests per second, by the clock: they are sent whether or not earlier ones were answered. Required.
	Rate float64
}

// Generator sends requests from when it was started until it is stopped.
type Generator struct {
	cancel  context.CancelFunc
	streams []*stream
	wg      sync.WaitGroup

	mu     sync.Mutex
	window *window
}

// Start opens the kept connections and returns when every client has had an answer over a kept and over a new connection.
func Start(ctx context.Context, clients []Client) (*Generator, error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &Generator{cancel: cancel, window: newWindow()}
	for _, c := range clients {
		if c.Rate <= 0 || c.NetNS == "" || !c.Target.IsValid() {
			cancel()
			return nil, fmt.Errorf("client %s: a rate, a network namespace and a target are needed", c.Name)
		}
		g.streams = append(g.streams, newStream(c, true), newStream(c, false))
	}
	if err := g.warmUp(ctx); err != nil {
		g.Stop()
		return nil, err
	}
	for i, s := range g.streams {
		// Not all at once: each begins at its own part of a period.
		start := time.Now().Add(s.period * time.Duration(i) / time.Duration(len(g.streams)))
		g.wg.Go(func() { g.pace(ctx, s, start) })
	}
	return g, nil
}

// warmUp waits for the first answers.
func (g *Generator) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, warmUp)
	defer cancel()
	errs := make([]error, len(g.streams))
	var wg sync.WaitGroup
	for i, s := range g.streams {
		wg.Go(func() { errs[i] = s.firstAnswers(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Stop ends all requests and connections.
func (g *Generator) Stop() {
	g.cancel()
	g.wg.Wait()
	for _, s := range g.streams {
		s.close()
	}
}

// pace sends a request in every period, by absolute time.
func (g *Generator) pace(ctx context.Context, s *stream, start time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(0); ; n++ {
		due := start.Add(time.Duration(n) * s.period)
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		w, skipped := g.begin(s, now.Sub(due))
		n += skipped
		g.wg.Go(func() {
			body, err := s.ask(ctx, now)
			w.end(s, now, body, err, ctx.Err() != nil)
		})
	}
}

// begin counts a request in the measurement that goes on, and what is left out before it because the generator was late.
func (g *Generator) begin(s *stream, late time.Duration) (w *window, skipped int64) {
	if late > maxCatchUp {
		skipped = int64((late - maxCatchUp) / s.period)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.window.begin(late, skipped)
	return g.window, skipped
}

// swap makes w the measurement that goes on and returns the one before.
func (g *Generator) swap(w *window) *window {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.window
	g.window = w
	return before
}

// Measure counts the requests that are due while during runs, and waits for the answers of the last ones. The figures are
// complete also when during fails.
func (g *Generator) Measure(ctx context.Context, during func(context.Context) error) (Result, error) {
	g.swap(newWindow())
	err := during(ctx)
	w := g.swap(newWindow())
	took := time.Since(w.start)
	w.finish()
	return w.result(took), err
}
