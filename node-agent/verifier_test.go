package nodeagent

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
)

// fakeProber answers over every path but those blocked, named "<node> <path name>", after a while.
type fakeProber struct {
	takes time.Duration

	mu       sync.Mutex
	blocked  map[string]bool
	config   probe.Config
	fails    error // what Configure returns
	asked    int
	diagnose int
	busy     int // asks under way
	busiest  int
	closed   bool
}

var _ pathProber = (*fakeProber)(nil)

func (p *fakeProber) Configure(c probe.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails != nil {
		return p.fails
	}
	p.config, p.closed = c, false
	return nil
}

func (p *fakeProber) block(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = blocked(names...)
}

func (p *fakeProber) Ask(ctx context.Context, path string, target probe.Target) probe.Answer {
	p.mu.Lock()
	p.asked++
	p.busy++
	p.busiest = max(p.busiest, p.busy)
	no := p.blocked[target.Node+" "+path]
	p.mu.Unlock()
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if no || ctx.Err() != nil {
		return probe.Answer{}
	}
	return probe.Answer{OK: true, Small: true, RTT: p.takes}
}

func (p *fakeProber) Diagnose(_ context.Context, _ string, target probe.Target, _ probe.Answer) probe.Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.diagnose++
	return probe.Finding{Reason: v1alpha1.ProbeForwardPolicy, Message: "drops what is for pods of " + target.Node}
}

func (p *fakeProber) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// count reads one of the counters.
func (p *fakeProber) count(n *int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *n
}

// verify runs a test of a verifier on a clock of its own. kicks counts the passes it asks for.
func verify(t *testing.T, p *fakeProber, test func(v *verifier, kicks *atomic.Int32)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var kicks atomic.Int32
		v := newVerifier(p, func() { kicks.Add(1) }, newMetrics(), logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { v.run(ctx) })
		test(v, &kicks)
		cancel()
		running.Wait()
		time.Sleep(time.Second) // a kick that is due
	})
}

// The loop hears of what something follows from, and of nothing else.
func TestVerifierTellsTheLoop(t *testing.T) {
	p := &fakeProber{takes: time.Millisecond}
	verify(t, p, func(v *verifier, kicks *atomic.Int32) {
		v.results()
		v.set(rolling())
		time.Sleep(3 * time.Second)
		if n := kicks.Load(); n < 1 || n > 3 {
			t.Errorf("%d passes asked for by a verification of 2 peers, want 1 to 3", n)
		}
		want := []v1alpha1.Verification{{Revision: "a", Peers: 2, Verified: 2}, {Revision: "b", Peers: 2, Verified: 2}}
		if diff := cmp.Diff(want, v.set(rolling()).Verifications); diff != "" {
			t.Errorf("verifications (-want +got):\n%s", diff)
		}
		v.results()
		before, asked := kicks.Load(), p.count(&p.asked)
		time.Sleep(time.Minute)
		if n := kicks.Load(); n != before {
			t.Errorf("%d passes asked for by nothing", n-before)
		}
		if n := p.count(&p.asked) - asked; n > 125 {
			t.Errorf("%d asks in a minute about what is proven, want one per second for each of 2 peers", n)
		}
	})
}

// A direct path that breaks is given up within two seconds where a node has few peers, and the loop hears of it.
func TestVerifierGivesUpADirectPath(t *testing.T) {
	p := &fakeProber{takes: 5 * time.Millisecond}
	verify(t, p, func(v *verifier, kicks *atomic.Int32) {
		v.set(inUse())
		time.Sleep(5 * time.Second)
		v.results()
		kicks.Store(0)
		p.block("n3 a/direct")
		time.Sleep(2 * time.Second)
		if kicks.Load() == 0 {
			t.Error("no pass was asked for")
		}
		r := v.results()
		if diff := cmp.Diff(map[string]map[string]bool{"a": {"n2": true}}, r.Direct); diff != "" {
			t.Errorf("direct (-want +got):\n%s", diff)
		}
		want := []v1alpha1.FailingPeer{{Node: "n3", Reason: v1alpha1.ProbeForwardPolicy, Message: "drops what is for pods of n3"}}
		if diff := cmp.Diff(want, r.Verifications[0].Encapsulated); diff != "" {
			t.Errorf("encapsulated (-want +got):\n%s", diff)
		}
	})
}

// Peers that do not answer take long: they are asked side by side, within bounds, and each is diagnosed once per ask at most.
func TestVerifierAsksSideBySide(t *testing.T) {
	p := &fakeProber{takes: time.Second, blocked: map[string]bool{}}
	a := rolling()
	a.Probes[2].Targets = nil
	for n := range 200 {
		target := peer(n)
		a.Probes[2].Targets = append(a.Probes[2].Targets, target)
		p.blocked[target.Node+" b/routes"] = true
	}
	verify(t, p, func(v *verifier, _ *atomic.Int32) {
		v.set(a)
		time.Sleep(30 * time.Second)
		if n := p.count(&p.busiest); n != maxInFlight {
			t.Errorf("%d peers were asked at once, want %d", n, maxInFlight)
		}
		if asked, diagnosed := p.count(&p.asked), p.count(&p.diagnose); diagnosed == 0 || diagnosed >= asked {
			t.Errorf("%d diagnoses of %d asks", diagnosed, asked)
		}
	})
}

// An ask that a shutdown cuts short proves nothing, neither way.
func TestVerifierForgetsCutAsks(t *testing.T) {
	p := &fakeProber{takes: time.Minute}
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(p, func() {}, newMetrics(), logr.Discard())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v.set(rolling())
		v.run(ctx)
		if got := v.results().Verifications[1]; got.FailingCount != 0 || got.Verified != 0 {
			t.Errorf("verification = %+v", got)
		}
	})
}

// A result that an earlier process reported is not asked for again.
func TestVerifierKeepsAnEarlierCheck(t *testing.T) {
	p := &fakeProber{}
	verify(t, p, func(v *verifier, _ *atomic.Int32) {
		v.assumeCheck(&v1alpha1.CheckResult{Request: "1", Peers: 2, Reached: 1})
		a := assignment{Transmit: "a", Check: "1", Probes: []desired.Probe{path("a", desired.ProbeCurrent)}}
		if got := v.set(a).Check; got == nil || got.Reached != 1 {
			t.Errorf("check = %+v", got)
		}
		time.Sleep(time.Minute)
		if n := p.count(&p.asked); n > 0 {
			t.Errorf("asked %d times", n)
		}
	})
}
