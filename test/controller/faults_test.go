package controller

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// wire stands between a controller and the API server.
type wire struct {
	base http.RoundTripper
	// writes and reads count requests; events, and the discovery at start, are not among them.
	writes, lists atomic.Int64

	// dieAfter is how many writes get through before nothing does any more; negative: all.
	dieAfter atomic.Int64
	// loseReply has the last write reach the API server and its reply get lost.
	loseReply atomic.Bool
	dead      atomic.Bool
	// lag delays what watches deliver whose path ends in lagOf, or of all watches.
	lag   time.Duration
	lagOf string
	// hook, if set, makes every write in place of the wire, which it may call.
	hook func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error)
}

var errDead = errors.New("the process has died")

// newWire is one that lets everything through.
func newWire() *wire {
	w := &wire{}
	w.dieAfter.Store(-1)
	return w
}

// through has a controller's requests go over w.
func (w *wire) through(config *rest.Config) {
	config.Wrap(func(base http.RoundTripper) http.RoundTripper {
		w.base = base
		return w
	})
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.dead.Load() {
		return nil, errDead
	}
	switch {
	case strings.Contains(r.URL.Path, "/events"):
	case r.Method != http.MethodGet:
		if n := w.writes.Add(1); w.dieAfter.Load() >= 0 && n > w.dieAfter.Load() {
			if w.dead.Swap(true) || !w.loseReply.Load() {
				return nil, errDead
			}
			if response, err := w.base.RoundTrip(r); err == nil {
				response.Body.Close()
			}
			return nil, errDead
		}
		if w.hook != nil {
			return w.hook(r, func() (*http.Response, error) { return w.base.RoundTrip(r) })
		}
	case r.URL.Query().Get("watch") != "":
		response, err := w.base.RoundTrip(r)
		if err == nil && w.lag > 0 && strings.HasSuffix(r.URL.Path, w.lagOf) {
			response.Body = &lateBody{ReadCloser: response.Body, lag: w.lag}
		}
		return response, err
	case strings.Contains(r.URL.Path, "/apis/net.hopsack.dev/"):
		w.lists.Add(1)
	}
	return w.base.RoundTrip(r)
}

// lateBody delivers everything late.
type lateBody struct {
	io.ReadCloser
	lag time.Duration
}

func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	time.Sleep(b.lag)
	return n, err
}

// crasher keeps a controller running that dies over and over, after few writes, until it is told to stop.
type crasher struct {
	c      *cluster
	rng    *rand.Rand
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
	deaths int
}

func (c *cluster) startCrasher(seed uint64) *crasher {
	r := &crasher{c: c, rng: rand.New(rand.NewPCG(seed, 0)), stop: make(chan struct{})}
	r.done.Go(func() {
		for {
			w := &wire{}
			w.dieAfter.Store(int64(r.rng.IntN(7)))
			w.loseReply.Store(r.rng.IntN(2) == 0)
			stop := c.startController(w.through)
			life := time.After(5 * time.Second) // it may have nothing to write, or a busy machine
			for alive := true; alive; {
				select {
				case <-r.stop:
					stop()
					return
				case <-life:
					alive = false
				case <-time.After(5 * time.Millisecond):
					alive = !w.dead.Load()
				}
			}
			r.deaths++
			stop()
		}
	})
	c.t.Cleanup(func() { r.end() }) // a test that failed must not leave a controller to the next one
	return r
}

func (r *crasher) end() int {
	r.once.Do(func() { close(r.stop) })
	r.done.Wait()
	return r.deaths
}

// TestIdle: passes over objects that do not change write nothing.
func TestIdle(t *testing.T) {
	c := newCluster(t)
	w := newWire()
	c.startController(w.through)
	c.startAgents()
	c.apply(plain + "cni: {plugins: [{type: bandwidth, config: {capabilities: {bandwidth: true}, b: 1.50, a: [1, {z: 1, y: '<&>'}]}}]}\ninterface: {names: [eth0]}")
	c.nodes(3)
	c.reserve("10.244.50.0/24", "n9")
	c.reserve("10.245.1.0/24", "n8")
	c.condition("Ready", "True", "Ready")
	c.deleteNode("n3")
	c.leaseState("10.244.3.0-24", "False", "Released")
	c.condition("Ready", "True", "Ready")
	c.settle()
	writes, lists := w.writes.Load(), w.lists.Load()
	for range 5 {
		c.touch()
	}
	if got := w.writes.Load() - writes; got != 0 {
		t.Errorf("%d writes in passes over unchanged objects, want 0", got)
	}
	if got := w.lists.Load() - lists; got != 0 {
		t.Errorf("%d live reads in passes over unchanged objects, want 0", got)
	}
}
