package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestCrashAnywhere: controllers that die after any write, with or without its reply, reach the same end as one that lives.
func TestCrashAnywhere(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newCluster(t)
			a := c.startAgents()
			w, o := c.watchBound(), c.watchOrder()
			crasher := c.startCrasher(seed)

			c.apply("network: 10.244.0.0/16\nbackend: {type: vxlan}") // podCIDRs: Auto
			c.reserve("10.244.70.0/23", "n7")
			for i := range 3 {
				c.node(fmt.Sprintf("p%d", i), address(20+i), fmt.Sprintf("10.244.%d.0/24", i))
			}
			c.bound(3)
			c.apply(plain)
			c.nodes(7)
			got := c.bound(10)
			if got["n7"] != "10.244.70.0/23" {
				t.Errorf("n7 has %s, want the reserved subnet", got["n7"])
			}
			c.deleteNode("n2")
			c.bound(9)
			c.node("n2", address(2))
			if back := c.bound(10); back["n2"] != got["n2"] {
				t.Errorf("n2 came back to %s, want %s", back["n2"], got["n2"])
			}
			c.deleteLease("10.244.1.0-24")
			c.delete(&v1alpha1.NodeNetwork{ObjectMeta: c.nodeNetworks()[0].ObjectMeta})
			c.apply(onLink)
			c.condition("Ready", "True", "Ready", "10 nodes")
			for name, s := range c.subnets() {
				if s != got[name] {
					t.Errorf("%s has %s, want %s as before", name, s, got[name])
				}
			}
			deaths := crasher.end()
			o.stop()
			o.check(t)
			w.stop(t)
			t.Logf("%d controllers died", deaths)

			crasher = c.startCrasher(seed + 100)
			c.delete(c.config())
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"net.hopsack.dev/teardown":"confirmed"}}}`))
			if err := c.Patch(context.Background(), c.config(), patch); err != nil {
				t.Fatal(err)
			}
			a.silence("", false)
			c.eventually("removal", func() error {
				var list v1alpha1.NetworkConfigList
				if err := c.List(context.Background(), &list); err != nil {
					return err
				}
				if len(list.Items) > 0 {
					return errors.New("networkconfig is left")
				}
				return nil
			})
			if left := c.dump(); len(left) != 1 { // the reservation is its user's
				t.Errorf("%d objects left, want 1", len(left))
			}
			t.Logf("%d controllers died removing it", crasher.end())
		})
	}
}

// boundWatch sees every version of every NodeNetwork, and that at no time two of them have overlapping subnets bound.
type boundWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	errs   []error
	seen   int
	ever   []netip.Prefix // bound at some time
}

func (c *cluster) watchBound() *boundWatch {
	c.t.Helper()
	wc, err := client.NewWithWatch(admin, client.Options{Scheme: scheme, Mapper: c.RESTMapper()})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	events, err := wc.Watch(ctx, &v1alpha1.NodeNetworkList{})
	if err != nil {
		c.t.Fatal(err)
	}
	w := &boundWatch{cancel: cancel}
	w.done.Go(func() {
		bound := map[string][]netip.Prefix{}
		for e := range events.ResultChan() {
			nn, ok := e.Object.(*v1alpha1.NodeNetwork)
			if !ok {
				continue
			}
			w.seen++
			bound[nn.Name] = nil
			if e.Type == watch.Deleted {
				continue
			}
			for _, s := range nn.Spec.Subnets {
				if p := netip.MustParsePrefix(s.Subnet); s.State != v1alpha1.SubnetIntended {
					bound[nn.Name] = append(bound[nn.Name], p)
					w.ever = append(w.ever, p)
				}
			}
			for other, prefixes := range bound {
				for _, q := range prefixes {
					for _, p := range bound[nn.Name] {
						if other != nn.Name && p.Overlaps(q) {
							w.errs = append(w.errs, fmt.Errorf("%s of %s overlaps %s of %s", p, nn.Name, q, other))
						}
					}
				}
			}
		}
	})
	return w
}

func (w *boundWatch) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	w.done.Wait()
	if err := errors.Join(w.errs...); err != nil {
		t.Error(err)
	}
	t.Logf("looked at %d versions of NodeNetworks", w.seen)
}
