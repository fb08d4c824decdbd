package rollout

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// controller is a model of controllers/: what it has seen of every object, each as late as it pleases, and the writes of the pass
// under way, each conditional on the version that the pass was planned from.
type controller struct {
	id                 string
	nodes, nns, leases map[string]int
	config             int
	writes             []func()
	// asked and elected are the answer of the election's Lease, read at most once in a pass.
	asked, elected bool
	step           Step
}

// elect makes a new leader. It starts from a list of NodeNetworks; whatever else it has seen may be older.
func (w *world) elect(old *controller) *controller {
	c := &controller{id: fmt.Sprint("c", w.next()), nodes: map[string]int{}, nns: map[string]int{}, leases: map[string]int{}}
	for _, name := range w.names {
		c.nns[name] = w.nns[name].latest()
		c.nodes[name] = w.nodes[name].later(w.rng, 0)
		c.leases[name] = w.leases[name].later(w.rng, 0)
	}
	if old != nil && w.rng.IntN(2) == 0 { // a standby whose caches lag
		for _, name := range w.names {
			c.nodes[name], c.leases[name] = old.nodes[name], old.leases[name]
		}
	}
	c.config = w.config.later(w.rng, 0)
	w.holder = c.id
	w.say("%s is elected", c.id)
	return c
}

func (w *world) see(c *controller) {
	for _, name := range w.names {
		c.nodes[name] = w.nodes[name].later(w.rng, c.nodes[name])
		c.nns[name] = w.nns[name].later(w.rng, c.nns[name])
		c.leases[name] = w.leases[name].later(w.rng, c.leases[name])
	}
	c.config = w.config.later(w.rng, c.config)
}

// input is what the controller makes of what it has seen; ok is false where it would look again first.
func (w *world) input(c *controller) (in Input, ok bool) {
	config := w.config.versions[c.config]
	if config.generation == 0 {
		return in, false
	}
	in = Input{
		Now: w.now, Target: rev(config.target), Policy: config.policy, Generation: config.generation, Paused: config.paused,
		Retry: config.retry, Leader: c.id, Past: *config.status.DeepCopy(),
		Cluster: plan.Cluster{Nodes: map[string]plan.Node{}, NodeNetworks: map[string]plan.NodeNetwork{}, Leases: map[netip.Prefix]plan.Lease{}},
	}
	for i, name := range w.names {
		n, o := w.nodes[name].versions[c.nodes[name]], w.nns[name].versions[c.nns[name]]
		if o.exists && !n.exists && w.nodes[name].now().exists {
			return in, false
		}
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		in.Cluster.Leases[prefix] = plan.Lease{Prefix: prefix, Node: name, Held: true, Published: w.leases[name].versions[c.leases[name]].published}
		if n.exists {
			in.Cluster.Nodes[name] = plan.Node{Name: name, UID: n.uid, BootID: n.boot, Ready: n.ready, ReadyChanged: n.changed}
		}
		if o.exists {
			in.Cluster.NodeNetworks[name] = parsed(name, prefix, o, n)
		}
	}
	return in, true
}

func parsed(name string, prefix netip.Prefix, o nodeNetworkObject, n nodeObject) plan.NodeNetwork {
	out := plan.NodeNetwork{
		Name: name, NodeUID: o.nodeUID, Subnets: []plan.Subnet{{Prefix: prefix, State: v1alpha1.SubnetBound}}, Transmit: o.transmit, Leader: o.leader,
		Report: plan.Report{
			Known:   n.exists && o.status.uid == n.uid && o.nodeUID == n.uid && o.status.boot == n.boot,
			Current: o.status.observed >= o.generation, Prepared: o.status.prepared, Transmit: o.status.transmit,
			Failed: o.status.failed, Verifications: o.status.verifications,
		},
	}
	for _, id := range o.revisions {
		out.Revisions = append(out.Revisions, rev(id))
	}
	return out
}

// leads reads the election's Lease, after the pass has read its objects.
func (w *world) leads(c *controller) bool {
	if !c.asked {
		c.asked, c.elected = true, w.holder == c.id
	}
	return c.elected
}

// plan starts a pass.
func (w *world) plan(c *controller) {
	in, ok := w.input(c)
	if !ok {
		return
	}
	c.step, c.asked = Next(in), false
	step := c.step
	w.say("%s plans %s", c.id, show(step, len(w.names)))
	for _, name := range w.names {
		o := in.Cluster.NodeNetworks[name]
		w.say("  %s v%d of %s: %s/%d, known %v current %v prepared %v sends %q failed %q", name, c.nns[name], o.Leader, o.Transmit, len(o.Revisions),
			o.Report.Known, o.Report.Current, o.Report.Prepared, o.Report.Transmit, o.Report.Failed)
	}
	if step.Fence {
		for _, name := range w.names {
			if nn, ok := in.Cluster.NodeNetworks[name]; ok && nn.Leader != c.id {
				c.later(func() { w.update(c, name, c.nns[name], func(o *nodeNetworkObject) {}) })
			}
		}
		w.shuffle(c)
		return
	}
	if len(step.Revisions) > maxRevisions {
		w.problem = fmt.Sprintf("%d revisions at once", len(step.Revisions))
	}
	for _, name := range w.names {
		o, seen := w.nns[name].versions[c.nns[name]], c.nns[name]
		n, exists := in.Cluster.Nodes[name]
		switch {
		case exists:
			c.later(func() { w.render(c, name, seen, n.UID, in) })
		case o.exists:
			c.later(func() { w.drop(c, name, seen) })
		}
		if _, abandoned := w.machines[name]; abandoned && slices.Contains(step.Status.Abandoned, name) {
			w.machines[name].abandoned = true
		}
	}
	w.shuffle(c)
	for _, name := range w.names {
		o, seen := w.nns[name].versions[c.nns[name]], c.leases[name]
		if step.Admit[name] && o.nodeUID == in.Cluster.Nodes[name].UID && !w.leases[name].versions[seen].published {
			c.later(func() { w.publish(c, name, seen) })
		}
	}
	seen := c.config
	c.later(func() { w.remember(c, seen, step.Status) })
}

func (c *controller) later(f func()) { c.writes = append(c.writes, f) }

func (w *world) shuffle(c *controller) {
	w.rng.Shuffle(len(c.writes), func(i, j int) { c.writes[i], c.writes[j] = c.writes[j], c.writes[i] })
}

// render brings a NodeNetwork's spec up to date.
func (w *world) render(c *controller, name string, seen int, uid string, in Input) {
	var ids []string
	for _, r := range c.step.Revisions {
		ids = append(ids, r.ID)
	}
	transmit := c.step.Transmit[name]
	if h := w.nns[name]; !h.versions[seen].exists {
		if h.latest() != seen || !w.leads(c) {
			return // it exists already, or this controller does not lead any more
		}
		c.nns[name] = h.put(nodeNetworkObject{
			exists: true, incarnation: w.next(), generation: 1, nodeUID: uid, revisions: ids, transmit: transmit, leader: c.id,
		})
		return
	}
	w.update(c, name, seen, func(o *nodeNetworkObject) {
		if o.nodeUID == uid && o.transmit == transmit && slices.Equal(o.revisions, ids) {
			return
		}
		if o.transmit != transmit {
			w.barrier(c, in, name, transmit)
		}
		o.generation++
		o.nodeUID, o.transmit, o.revisions = uid, transmit, ids
	})
}

// update is a compare-and-swap, with the fence.
func (w *world) update(c *controller, name string, seen int, change func(*nodeNetworkObject)) {
	h := w.nns[name]
	if h.latest() != seen || h.versions[seen].leader != c.id && !w.leads(c) {
		return
	}
	o := h.now()
	o.leader = c.id
	change(&o)
	if o.generation != h.now().generation || h.now().leader != c.id {
		c.nns[name] = h.put(o) // a controller sees its own writes
	}
}

// drop deletes the NodeNetwork of a node that is gone, and releases its lease.
func (w *world) drop(c *controller, name string, seen int) {
	h := w.nns[name]
	if w.nodes[name].now().exists || h.latest() != seen || !w.leads(c) {
		return
	}
	c.nns[name] = h.put(nodeNetworkObject{})
	c.leases[name] = w.leases[name].put(leaseObject{})
}

func (w *world) publish(c *controller, name string, seen int) {
	if w.leases[name].latest() != seen || !w.leads(c) {
		return
	}
	c.leases[name] = w.leases[name].put(leaseObject{published: true})
	w.say("%s publishes %s", c.id, name)
}

func (w *world) remember(c *controller, seen int, status v1alpha1.RolloutStatus) {
	o := w.config.now()
	if w.config.latest() != seen || cmp.Equal(o.status, status) {
		return
	}
	o.status = status
	c.config = w.config.put(o)
}

// barrier checks, from the raw objects that the controller has seen, that the first node asked to send with a revision is asked
// only after every published node has reported to receive it: for the Node that exists, since its boot, for its present spec.
func (w *world) barrier(c *controller, in Input, mover, id string) {
	if in.Cluster.NodeNetworks[mover].Report.Prepared == nil && !w.leases[mover].now().published {
		return // a node that joins sends nothing yet
	}
	if slices.Contains(c.step.Status.Abandoned, mover) {
		return // its traffic may be lost
	}
	for i, name := range w.names {
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		nn := in.Cluster.NodeNetworks[name]
		if in.Cluster.Leases[prefix].Published && (nn.Transmit == id || nn.Report.Known && nn.Report.Current && nn.Report.Transmit == id) {
			return // in use already
		}
	}
	for i, name := range w.names {
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		n, exists := in.Cluster.Nodes[name]
		r, m := in.Cluster.NodeNetworks[name].Report, w.machines[name]
		if exists && n.UID != "" && in.Cluster.Leases[prefix].Published && !m.abandoned && !(r.Known && r.Current && slices.Contains(r.Prepared, id)) {
			w.problem = fmt.Sprintf("%s moves %s to %s, which %s has not reported to receive (known %v, current %v, %v)",
				c.id, mover, id, name, r.Known, r.Current, r.Prepared)
		}
	}
}
