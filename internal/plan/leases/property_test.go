package leases_test

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// walk drives a world at random: users and nodes do things, and up to two controllers, each with a view that may be old, make
// their writes one by one and die anywhere.
type walk struct {
	*world
	t      *testing.T
	rng    *rand.Rand
	views  []view
	next   [2]func() (string, bool)
	stop   [2]func()
	passes int
}

// TestRandomWalk: whatever happens in whatever order, no two bound subnets overlap; and when it stops, everything comes to an
// end in which all rules hold.
func TestRandomWalk(t *testing.T) {
	seeds := 1500
	if testing.Short() {
		seeds = 200
	}
	passes := 0
	for seed := range seeds {
		w := &walk{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 7))}
		w.world = newWorld(t, w.randomSpec())
		w.run(60)
		passes += w.passes
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d walks, %d passes", seeds, passes)
}

func (w *walk) run(steps int) {
	for range steps {
		if w.rng.IntN(3) == 0 {
			w.happen()
		}
		w.views = append(w.views, w.view())
		w.write(w.rng.IntN(2))
		w.check(w.t)
	}
	for i := range w.stop {
		if w.stop[i] != nil {
			w.stop[i]()
		}
	}
	w.end()
}

// write has one of the controllers make its next write, starting a pass where there is none.
func (w *walk) write(i int) {
	if w.next[i] == nil {
		v := w.views[max(0, len(w.views)-1-w.rng.IntN(6))] // caches lag
		v.versions, v.cluster.Leases = maps.Clone(v.versions), maps.Clone(v.cluster.Leases)
		w.next[i], w.stop[i] = iter.Pull(w.pass(v, w.rng.IntN(2) == 0))
		w.passes++
	}
	if _, alive := w.next[i](); !alive || w.rng.IntN(12) == 0 {
		w.stop[i]()
		w.next[i], w.stop[i] = nil, nil
	}
}

func (w *walk) randomSpec() v1alpha1.NetworkConfigSpec {
	length := int32(24 + w.rng.IntN(3))
	spec := v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/20", SubnetLen: &length}
	spec.SubnetMax = fmt.Sprintf("10.244.%d.0", 2+w.rng.IntN(6))
	if w.rng.IntN(2) == 0 {
		spec.PodCIDRs = v1alpha1.PodCIDRsAuto
	}
	retention := int32(w.rng.IntN(3) * 600)
	spec.RetentionSeconds = &retention
	return spec
}

func (w *walk) randomPrefix() string {
	bits := 22 + w.rng.IntN(6)
	p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(w.rng.IntN(17)), byte(w.rng.IntN(256))}), bits)
	return p.Masked().String()
}

// happen is something that a user or a node does.
func (w *walk) happen() {
	name := fmt.Sprintf("n%d", w.rng.IntN(10))
	_, exists := w.cluster.Nodes[name]
	switch w.rng.IntN(10) {
	case 0, 1, 2:
		if exists {
			return
		}
		if w.rng.IntN(3) == 0 {
			w.node(name, w.randomPrefix())
		} else {
			w.node(name)
		}
	case 3:
		delete(w.cluster.Nodes, name)
	case 4:
		if n := w.cluster.Nodes[name]; exists && len(n.PodCIDRs) == 0 {
			n.PodCIDRs = []netip.Prefix{prefix(w.randomPrefix())}
			w.cluster.Nodes[name] = n
		}
	case 5:
		if p := w.randomPrefix(); w.cluster.Leases[prefix(p)].Node == "" && w.rng.IntN(3) == 0 {
			w.reserve(p, name)
		}
	case 6:
		w.deleteSomeLease()
	case 7:
		if _, ok := w.cluster.NodeNetworks[name]; ok && w.rng.IntN(3) == 0 {
			w.dropNodeNetwork(name)
		}
	case 8:
		w.change()
	case 9:
		w.now = w.now.Add(time.Duration(w.rng.IntN(400)) * time.Second)
	}
}

// change puts another configuration into effect, if it is acceptable. Passes planned under the old one end here: in the
// cluster they would meet the new one's refusal.
func (w *walk) change() {
	for i := range w.stop {
		if w.stop[i] != nil {
			w.stop[i]()
			w.next[i], w.stop[i] = nil, nil
		}
	}
	if c := config(w.t, w.randomSpec()); rollout.Accept(c, &w.cfg, w.cluster) == nil {
		w.cfg = c
	}
}

func (w *walk) deleteSomeLease() {
	all := w.cluster.SortedLeases()
	if len(all) == 0 {
		return
	}
	l := all[w.rng.IntN(len(all))]
	if l.Held {
		l.Deleting = true
		w.setLease(l)
		return
	}
	w.dropLease(l.Prefix)
}

// end lets everything come to rest, and checks it.
func (w *walk) end() {
	w.now = w.now.Add(time.Minute) // nobody waits for a podCIDR any more
	p := w.settle(w.t)
	again := leases.Make(w.cfg, w.view().cluster, w.now)
	if diff := cmp.Diff(p, again, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		w.t.Errorf("two plans from the same objects differ:\n%s", diff)
	}
	if len(p.Take)+len(p.Release)+len(p.Delete)+len(p.Unhold)+len(p.Recycled)+len(p.Gone) > 0 {
		w.t.Errorf("a plan after the last write still has something to write: %+v", p)
	}
	for name := range w.cluster.Nodes {
		w.checkNode(name, p)
	}
	for name := range w.cluster.NodeNetworks {
		if _, ok := w.cluster.Nodes[name]; !ok {
			w.t.Errorf("NodeNetwork %s without a Node", name)
		}
	}
	used := map[uint64]bool{}
	r := w.cfg.Ranges[0]
	for q, l := range w.cluster.Leases {
		if _, ok := w.cluster.Nodes[l.Node]; !ok && l.Held && (!l.Released() || l.Deleting) {
			w.t.Errorf("lease %+v of a node that is gone", l)
		}
		if from, to, ok := r.Span(q); ok {
			for i := from; i <= to; i++ {
				used[i] = true
			}
		}
	}
	if int(p.Used) != len(used) {
		w.t.Errorf("%d subnets counted as used, want %d", p.Used, len(used))
	}
	if len(p.Exhausted) > 0 && p.Used < p.Total {
		w.t.Errorf("%v wait although %d of %d are used", p.Exhausted, p.Used, p.Total)
	}
}

func (w *walk) checkNode(name string, p leases.Plan) {
	subnets := w.cluster.NodeNetworks[name].Subnets
	if _, bad := p.Problems[name]; len(subnets) == 0 && !bad {
		w.t.Errorf("%s has neither a subnet nor a problem", name)
	}
	for _, s := range subnets {
		l, ok := w.cluster.Leases[s.Prefix]
		r := w.cfg.Ranges[0]
		switch {
		case s.State != v1alpha1.SubnetBound:
			w.t.Errorf("%s: %s is %s in the end", name, s.Prefix, s.State)
		case !ok || l.Node != name || !l.Held && !l.Deleting || l.Released():
			w.t.Errorf("%s uses %s, but the lease is %+v", name, s.Prefix, l)
		case !r.Inside(s.Prefix) || !l.Adopted && !l.Reserved && !r.Holds(s.Prefix):
			w.t.Errorf("%s uses %s, which is none of %+v (%+v)", name, s.Prefix, r, l)
		}
	}
	if len(subnets) > 1 {
		w.t.Errorf("%s has %v, want one", name, subnets)
	}
	if slices.Contains(p.Exhausted, name) && len(subnets) > 0 {
		w.t.Errorf("%s waits although it has %v", name, subnets)
	}
}
