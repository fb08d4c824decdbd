package controller

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/controllers"
)

// electionLease is the one the controller's role lets it read.
var electionLease = types.NamespacedName{Namespace: "hopsack-system", Name: "hopsack-controller"}

func fence(identity string) controllers.Fence {
	return controllers.Fence{Identity: identity, Lease: electionLease}
}

// elect writes the election's Lease as the winner does.
func (c *cluster) elect(identity string) {
	c.t.Helper()
	ctx := context.Background()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: electionLease.Namespace, Name: electionLease.Name}}
	err := c.Get(ctx, electionLease, l)
	l.Spec.HolderIdentity = &identity
	switch {
	case apierrors.IsNotFound(err):
		err = c.Create(ctx, l)
	case err == nil:
		err = c.Update(ctx, l)
	}
	if err != nil {
		c.t.Fatalf("elect %s: %v", identity, err)
	}
	c.t.Cleanup(func() { _ = client.IgnoreNotFound(c.Delete(ctx, l)) })
}

// carries waits until every NodeNetwork carries an identity.
func (c *cluster) carries(identity string) {
	c.t.Helper()
	c.eventually("leader", func() error {
		for _, nn := range c.nodeNetworks() {
			if got := nn.Annotations[v1alpha1.LeaderAnnotation]; got != identity {
				return fmt.Errorf("%s carries %q, want %q", nn.Name, got, identity)
			}
		}
		return nil
	})
}

// nodeNetworkWrites counts those of one controller that the API server took.
type nodeNetworkWrites struct {
	wire     *wire
	taken    atomic.Int64
	refused  atomic.Int64
	held     atomic.Bool   // what is sent now waits
	waiting  atomic.Int64  // how many wait
	released chan struct{} // closed to let them go
}

func newNodeNetworkWrites() *nodeNetworkWrites {
	w := &nodeNetworkWrites{wire: newWire(), released: make(chan struct{})}
	w.wire.hook = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if !strings.Contains(r.URL.Path, "/nodenetworks/") || strings.HasSuffix(r.URL.Path, "/status") {
			return send()
		}
		if w.held.Load() {
			w.waiting.Add(1)
			<-w.released
		}
		response, err := send()
		switch {
		case err != nil:
		case response.StatusCode < 300:
			w.taken.Add(1)
		default:
			w.refused.Add(1)
		}
		return response, err
	}
	return w
}

// TestFence: a controller that slept through its deposition, with a write under way, changes nothing any more.
func TestFence(t *testing.T) {
	t.Run("asleep", func(t *testing.T) { wakesUp(t, 0) })
	t.Run("behind by its watch", func(t *testing.T) { wakesUp(t, 300*time.Millisecond) })
}

func wakesUp(t *testing.T, lag time.Duration) {
	c := newCluster(t)
	c.elect("first")
	first := newNodeNetworkWrites()
	first.wire.lag, first.wire.lagOf = lag, "/nodenetworks"
	c.startFenced(fence("first"), first.wire.through)
	c.started(3)
	c.carries("first")
	c.settle()

	// It begins a change and falls asleep in the middle of it.
	first.held.Store(true)
	c.apply(hostGW)
	c.eventually("a write under way", func() error {
		if first.waiting.Load() == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	c.elect("second")
	c.apply(overUDP)
	stop := c.startFenced(fence("second"))
	target := c.revision(overUDP)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	c.carries("second")
	c.settle()
	dump := c.dump()

	taken := first.taken.Load()
	close(first.released) // it wakes up; its cache, its memory and its write are of before
	first.held.Store(false)
	c.eventually("the write of before is refused", func() error {
		if first.refused.Load() == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	for range 3 {
		c.touch()
	}
	// Even what nobody mends it leaves to its successor, which is gone for a moment.
	stop()
	nn, err := c.nodeNetwork("n1")
	if err != nil {
		t.Fatal(err)
	}
	nn.Spec.RetentionSeconds = 7
	if err := c.Update(context.Background(), nn); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second + 3*lag)
	if nn, err = c.nodeNetwork("n1"); err != nil || nn.Spec.RetentionSeconds != 7 {
		t.Errorf("retention %d, %v, want 7", nn.Spec.RetentionSeconds, err)
	}
	c.startFenced(fence("second"))
	c.eventually("mended", func() error {
		if nn, err = c.nodeNetwork("n1"); err != nil || nn.Spec.RetentionSeconds == 7 {
			return fmt.Errorf("retention %d, %v", nn.Spec.RetentionSeconds, err)
		}
		return nil
	})
	if got := first.taken.Load() - taken; got != 0 {
		t.Errorf("%d writes of a deposed controller were taken", got)
	}
	c.carries("second")
	after := c.dump()
	for name := range dump {
		if strings.HasPrefix(name, "lease") && dump[name] != after[name] {
			t.Errorf("%s changed:\n%s\n%s", name, dump[name], after[name])
		}
	}
}

// TestTakeover: a controller that wins writes what others made only after it has read that it won, and puts its identity on
// every NodeNetwork before it moves a node.
func TestTakeover(t *testing.T) {
	c := newCluster(t)
	c.elect("first")
	stop := c.startFenced(fence("first"))
	a := c.started(3)
	before, target := c.revision(plain), c.revision(hostGW)
	a.block(target, "n1", "n2", v1alpha1.ProbeNoPath)
	c.apply(hostGW)
	c.phase(v1alpha1.PhaseVerifying)
	c.carries("first")
	c.settle()
	stop()

	// Not elected: it changes nothing, although all is ready for the switch.
	a.block(target, "n1", "n2", "")
	early := newNodeNetworkWrites()
	stop = c.startFenced(fence("early"), early.wire.through)
	time.Sleep(time.Second)
	if early.taken.Load() != 0 || c.transmits(before) != 3 {
		t.Errorf("%d writes were taken, %d nodes send as before", early.taken.Load(), c.transmits(before))
	}
	c.carries("first")
	stop()

	// Elected.
	w := c.watchLeaders("second")
	c.elect("second")
	stop = c.startFenced(fence("second"))
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	c.carries("second")
	stop()
	w.stop()
	w.check(t)
}

// watchLeaders checks, at every version of every NodeNetwork, that no node is moved before all carry an identity.
func (c *cluster) watchLeaders(identity string) *orderWatch {
	c.t.Helper()
	source := c.revision(plain)
	return c.watchVersions(func(state map[string]*v1alpha1.NodeNetwork) error {
		moved, foreign := "", ""
		for name, nn := range state {
			if nn.Spec.Transmit != source {
				moved = name
			}
			if nn.Annotations[v1alpha1.LeaderAnnotation] != identity {
				foreign = name
			}
		}
		if moved != "" && foreign != "" {
			return fmt.Errorf("%s is moved while %s carries another identity", moved, foreign)
		}
		return nil
	})
}
