package leases_test

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is an API server in miniature: objects with versions, where writes are conditional on the version they come from.
type world struct {
	cfg      network.Config
	now      time.Time
	cluster  plan.Cluster
	versions map[string]int
	uid      int
}

func newWorld(t testing.TB, spec v1alpha1.NetworkConfigSpec) *world {
	t.Helper()
	return &world{
		cfg: config(t, spec), now: epoch.Add(time.Hour), versions: map[string]int{},
		cluster: plan.Cluster{Nodes: map[string]plan.Node{}, NodeNetworks: map[string]plan.NodeNetwork{}, Leases: map[netip.Prefix]plan.Lease{}},
	}
}

func config(t testing.TB, spec v1alpha1.NetworkConfigSpec) network.Config {
	t.Helper()
	if spec.Network == "" {
		spec.Network = "10.244.0.0/16"
	}
	if spec.PodCIDRs == "" {
		spec.PodCIDRs = v1alpha1.PodCIDRsIgnore
	}
	spec.Backend.Type = v1alpha1.BackendVXLAN
	c, err := network.FromAPI(&v1alpha1.NetworkConfig{Spec: spec})
	if err != nil {
		t.Fatalf("config: %v", err)
	}
	return c
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// node adds a Node that appeared now.
func (w *world) node(name string, podCIDRs ...string) {
	w.uid++
	n := plan.Node{Name: name, UID: fmt.Sprint(w.uid), Created: w.now}
	for _, c := range podCIDRs {
		n.PodCIDRs = append(n.PodCIDRs, prefix(c))
	}
	w.cluster.Nodes[name] = n
}

// reserve makes a lease as a user would.
func (w *world) reserve(subnet, node string) {
	w.setLease(plan.Lease{Prefix: prefix(subnet), Node: node, Created: w.now})
}

func (w *world) setLease(l plan.Lease) {
	w.cluster.Leases[l.Prefix] = l
	w.versions["lease/"+l.Prefix.String()]++
}

func (w *world) dropLease(p netip.Prefix) {
	delete(w.cluster.Leases, p)
	w.versions["lease/"+p.String()]++
}

func (w *world) setNodeNetwork(name string, subnets []plan.Subnet) {
	w.cluster.NodeNetworks[name] = plan.NodeNetwork{Name: name, Subnets: subnets}
	w.versions["nn/"+name]++
}

func (w *world) dropNodeNetwork(name string) {
	delete(w.cluster.NodeNetworks, name)
	w.versions["nn/"+name]++
}

// view is what a controller's cache shows.
type view struct {
	cluster  plan.Cluster
	versions map[string]int
}

func (w *world) view() view {
	return view{
		cluster:  plan.Cluster{Nodes: maps.Clone(w.cluster.Nodes), NodeNetworks: maps.Clone(w.cluster.NodeNetworks), Leases: maps.Clone(w.cluster.Leases)},
		versions: maps.Clone(w.versions),
	}
}

// pass carries a plan out as the controller does, one write at a time: it yields after each, and whoever stops pulling has
// the controller die there. publish says that agents report as soon as a subnet is bound.
func (w *world) pass(v view, publish bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, names := range [][]string{slices.Collect(maps.Keys(v.cluster.NodeNetworks)), leaseNodes(v.cluster)} {
			for _, name := range names {
				_, seen := v.cluster.Nodes[name]
				if _, exists := w.cluster.Nodes[name]; exists && !seen {
					return // a live read shows that the cache lags
				}
			}
		}
		p := leases.Make(w.cfg, v.cluster, w.now)
		if !w.release(p, v, yield) {
			return
		}
		failed := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(p.Subnets)) {
			ok, alive := w.writeSubnets(v, name, p.Subnets[name], yield)
			failed[name] = !ok
			if !alive {
				return
			}
		}
		var takes []leases.Take
		for _, t := range p.Take {
			if !failed[t.Node] {
				takes = append(takes, t)
				if !w.takeLease(v, t, yield) {
					return
				}
			}
		}
		bind, _ := leases.Settle(takes, slices.Collect(maps.Keys(w.cluster.Leases)))
		for _, t := range bind {
			l := w.cluster.Leases[t.Prefix]
			if l.Node != t.Node || !l.Held || l.Released() {
				continue
			}
			p.Subnets[t.Node] = slices.Clone(p.Subnets[t.Node])
			for i, s := range p.Subnets[t.Node] {
				if s.Prefix == t.Prefix {
					p.Subnets[t.Node][i].State = v1alpha1.SubnetBound
				}
			}
			if _, alive := w.writeSubnets(v, t.Node, p.Subnets[t.Node], yield); !alive {
				return
			}
		}
		if publish {
			w.publish()
		}
	}
}

func leaseNodes(c plan.Cluster) []string {
	var out []string
	for _, l := range c.Leases {
		if l.Held && !l.Released() {
			out = append(out, l.Node)
		}
	}
	return out
}

// release makes the first writes of a pass.
func (w *world) release(p leases.Plan, v view, yield func(string) bool) bool {
	for _, q := range p.Release {
		if l := w.cluster.Leases[q]; w.cas(v, "lease/"+q.String()) {
			l.ReleasedAt, l.Published = w.now, false
			w.setLease(l)
			v.versions["lease/"+q.String()]++
		}
		if !yield("release " + q.String()) {
			return false
		}
	}
	for _, q := range p.Delete {
		if w.cas(v, "lease/"+q.String()) {
			w.dropLease(q)
			v.versions["lease/"+q.String()]++
		}
		if !yield("delete " + q.String()) {
			return false
		}
	}
	for _, q := range p.Unhold {
		if l := w.cluster.Leases[q]; w.cas(v, "lease/"+q.String()) {
			l.Held = false
			w.setLease(l)
			if l.Deleting {
				w.dropLease(q)
			}
		}
		if !yield("unhold " + q.String()) {
			return false
		}
	}
	for _, name := range p.Gone {
		if w.cas(v, "nn/"+name) {
			w.dropNodeNetwork(name)
		}
		if !yield("gone " + name) {
			return false
		}
	}
	return true
}

// cas says whether the object is still the version of the view.
func (w *world) cas(v view, key string) bool { return w.versions[key] == v.versions[key] }

func (w *world) writeSubnets(v view, name string, subnets []plan.Subnet, yield func(string) bool) (ok, alive bool) {
	nn, exists := w.cluster.NodeNetworks[name]
	if exists && slices.Equal(nn.Subnets, subnets) && w.cas(v, "nn/"+name) {
		return true, true
	}
	if ok = w.cas(v, "nn/"+name); ok {
		w.setNodeNetwork(name, slices.Clone(subnets))
		v.versions["nn/"+name]++
	}
	return ok, yield(fmt.Sprintf("nodenetwork %s %v", name, subnets))
}

func (w *world) takeLease(v view, t leases.Take, yield func(string) bool) bool {
	l, exists := w.cluster.Leases[t.Prefix]
	switch {
	case !t.Exists && !exists:
		w.setLease(plan.Lease{Prefix: t.Prefix, Node: t.Node, Created: w.now, Held: true, Adopted: t.Adopted, Reserved: t.Reserved})
	case t.Exists && exists && w.cas(v, "lease/"+t.Prefix.String()):
		if l.Held && !l.Released() {
			return true
		}
		l.Held, l.ReleasedAt = !l.Deleting || l.Held, time.Time{}
		l.Adopted, l.Reserved = l.Adopted || t.Adopted, l.Reserved || t.Reserved
		w.setLease(l)
	}
	return yield("take " + t.Prefix.String() + " for " + t.Node)
}

// publish has every node's agent report.
func (w *world) publish() {
	for name, nn := range w.cluster.NodeNetworks {
		for _, s := range nn.Subnets {
			l := w.cluster.Leases[s.Prefix]
			if s.InUse() && l.Node == name && l.Held && !l.Released() && !l.Published {
				l.Published = true
				w.setLease(l)
			}
		}
	}
}

// settle runs passes until one writes nothing.
func (w *world) settle(t testing.TB) leases.Plan {
	t.Helper()
	var log []string
	for range 20 {
		wrote := false
		for op := range w.pass(w.view(), true) {
			log = append(log, op)
			wrote = true
			w.check(t)
		}
		if !wrote {
			return leases.Make(w.cfg, w.cluster, w.now)
		}
	}
	t.Fatalf("no end to the writes, the last ones: %v", log[max(0, len(log)-20):])
	return leases.Plan{}
}

// check fails the test if bound subnets overlap.
func (w *world) check(t testing.TB) {
	t.Helper()
	owner := map[netip.Prefix]string{}
	for name, nn := range w.cluster.NodeNetworks {
		for _, s := range nn.Subnets {
			if !s.InUse() {
				continue
			}
			for q, other := range owner {
				if q.Overlaps(s.Prefix) {
					t.Fatalf("%s of %s overlaps %s of %s", s.Prefix, name, q, other)
				}
			}
			owner[s.Prefix] = name
		}
	}
}

// bound prints the bound subnets by node.
func (w *world) bound() map[string]string {
	out := map[string]string{}
	for name, nn := range w.cluster.NodeNetworks {
		for _, s := range nn.Subnets {
			if s.InUse() {
				out[name] += s.Prefix.String()
			}
		}
	}
	return out
}
