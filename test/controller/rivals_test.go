package controller

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// TestTwoControllers: two controllers that both believe to be the leader, one of them behind by its watches, never bind
// overlapping subnets.
func TestTwoControllers(t *testing.T) {
	t.Run("everything late", everythingLate)
	t.Run("lease made meanwhile", leaseMadeMeanwhile)
	t.Run("nodes seen late", nodesSeenLate)
	t.Run("NodeNetwork written meanwhile", nodeNetworkWrittenMeanwhile)
	t.Run("subnet bound meanwhile", subnetBoundMeanwhile)
}

func everythingLate(t *testing.T) {
	c := newCluster(t)
	late := newWire()
	late.lag = 150 * time.Millisecond
	c.startController()
	c.startController(late.through)
	c.startAgents()
	w := c.watchBound()
	c.apply("network: 10.244.0.0/18\nsubnetMax: 10.244.40.0\nbackend: {type: vxlan}")
	const count = 40
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			// Some with podCIDRs of other lengths, some with reservations, all into one narrow range.
			name, cidrs := fmt.Sprintf("n%d", i), []string{}
			switch i % 5 {
			case 0:
				cidrs = append(cidrs, fmt.Sprintf("10.244.%d.0/25", i))
			case 1:
				if err := c.tryReserve(fmt.Sprintf("10.244.%d.128/26", i), name); err != nil {
					t.Error(err)
				}
			}
			if err := c.tryNode(name, address(i), cidrs...); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	c.apply("network: 10.244.0.0/18\nsubnetMax: 10.244.40.0\npodCIDRs: Ignore\nbackend: {type: vxlan}")
	c.eventually("bound or told why not", func() error {
		bound := c.subnets()
		for _, nn := range c.nodeNetworks() {
			_, err := hasCondition(nn.Status.Conditions, v1alpha1.ConditionSubnetsAssigned, "False", v1alpha1.ReasonSubnetsExhausted)
			if bound[nn.Name] == "" && err != nil {
				return fmt.Errorf("%s: %w", nn.Name, err)
			}
		}
		if len(bound) < count/2 {
			return fmt.Errorf("%d bound", len(bound))
		}
		return nil
	})
	t.Logf("%d of %d nodes bound", len(c.subnets()), count)
	w.stop(t)
}

// leaseMadeMeanwhile: between a lease and its binding somebody makes another that overlaps it, and the controller's cache does
// not show it. The live list does: the subnet is not bound.
func leaseMadeMeanwhile(t *testing.T) {
	c := newCluster(t)
	w := newWire()
	w.lag, w.lagOf = 2*time.Second, "/subnetleases"
	var once sync.Once
	w.hook = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		response, err := send()
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/subnetleases") {
			once.Do(func() {
				if err := c.tryReserve("10.244.0.0/23", "other"); err != nil {
					t.Error(err)
				}
			})
		}
		return response, err
	}
	c.startController(w.through)
	c.apply(plain)
	versions := c.watchBound()
	c.node("n1", address(1))
	if got := c.bound(1)["n1"]; got != "10.244.2.0/24" {
		t.Errorf("n1 has %s, want the first that the other lease leaves free", got)
	}
	versions.stop(t)
	for _, p := range versions.ever {
		if p.String() == "10.244.1.0/24" {
			t.Errorf("%s was bound although another lease overlaps it", p)
		}
	}
}

// nodesSeenLate: a controller that does not see a Node yet, and sees its lease, asks before it takes the node for gone.
func nodesSeenLate(t *testing.T) {
	c := newCluster(t)
	late := newWire()
	late.lag, late.lagOf = 2*time.Second, "/nodes"
	var wrong atomic.Int64
	late.hook = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.Method == http.MethodDelete {
			wrong.Add(1)
		}
		if strings.HasSuffix(r.URL.Path, "/status") && r.Body != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			if bytes.Contains(body, []byte(v1alpha1.ReasonReleased)) {
				wrong.Add(1)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return send()
	}
	c.apply(plain)
	c.startController(late.through)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonNoNodes) // by its word: it has begun
	c.startController()
	for i := 1; i <= 3; i++ {
		c.node(fmt.Sprintf("n%d", i), address(i))
		c.bound(i)
		time.Sleep(600 * time.Millisecond) // it still does not see the Node
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d times a lease was released, or a NodeNetwork deleted, of a node that exists", n)
	}
}

// nodeNetworkWrittenMeanwhile: what somebody else wrote into a NodeNetwork since the pass looked is not written over.
func nodeNetworkWrittenMeanwhile(t *testing.T) {
	c := newCluster(t)
	w := newWire()
	var rival, answer sync.Once
	status := 0
	w.hook = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		response, err := send()
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/subnetleases"):
			rival.Do(func() {
				nn, err := c.nodeNetwork("n1")
				if err == nil {
					nn.Spec.Subnets = []v1alpha1.NodeSubnet{{Subnet: "10.244.77.0/24", State: v1alpha1.SubnetIntended}}
					err = c.Update(context.Background(), nn)
				}
				if err != nil {
					t.Error(err)
				}
			})
		case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/nodenetworks/n1") && err == nil:
			answer.Do(func() { status = response.StatusCode })
		}
		return response, err
	}
	stop := c.startController(w.through)
	c.apply(plain)
	c.node("n1", address(1))
	c.bound(1)
	stop()
	if status != http.StatusConflict {
		t.Errorf("the write planned from an older version was answered with %d, want %d", status, http.StatusConflict)
	}
}

// subnetBoundMeanwhile: a subnet that another controller bound after a pass looked is not taken away by what that pass writes.
func subnetBoundMeanwhile(t *testing.T) {
	c := newCluster(t)
	w := newWire()
	var changed, bound atomic.Bool
	var once sync.Once
	w.hook = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if changed.Load() && strings.HasSuffix(r.URL.Path, "/networkconfigs/default/status") { // the first write of that pass
			once.Do(func() {
				if err := c.bindMore("n1", "10.244.99.0/24"); err != nil {
					t.Error(err)
				}
				bound.Store(true)
			})
		}
		if !bound.Load() || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/nodenetworks/n1") {
			return send()
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		response, err := send()
		if err == nil && response.StatusCode == http.StatusOK && !bytes.Contains(body, []byte("10.244.99.0/24")) {
			t.Error("the subnet was taken away again") // a later pass would give it back
		}
		return response, err
	}
	c.startController(w.through)
	c.startAgents()
	c.apply(plain)
	c.node("n1", address(1))
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.settle()
	changed.Store(true)
	c.apply(onLink)
	c.eventually("the change", func() error {
		if got := c.config().Status; got.Effective.Backend.VXLAN.DirectRouting != v1alpha1.DirectRoutingOnLink {
			return fmt.Errorf("directRouting is %s", got.Effective.Backend.VXLAN.DirectRouting)
		}
		return nil
	})
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	if got, want := c.subnets()["n1"], "10.244.1.0/2410.244.99.0/24"; got != want {
		t.Errorf("n1 has %s, want %s", got, want)
	}
}

// bindMore gives a node another subnet, as a controller does.
func (c *cluster) bindMore(node, subnet string) error {
	l := &v1alpha1.SubnetLease{Spec: v1alpha1.SubnetLeaseSpec{Subnet: subnet, NodeName: node}}
	l.Name, l.Finalizers = network.LeaseName(netip.MustParsePrefix(subnet)), []string{v1alpha1.LeaseFinalizer}
	if err := c.Create(context.Background(), l); err != nil {
		return err
	}
	nn, err := c.nodeNetwork(node)
	if err != nil {
		return err
	}
	nn.Spec.Subnets = append(nn.Spec.Subnets, v1alpha1.NodeSubnet{Subnet: subnet, State: v1alpha1.SubnetBound})
	return c.Update(context.Background(), nn)
}
