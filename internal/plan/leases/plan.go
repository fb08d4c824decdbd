package leases

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// PodCIDRWait is how long a new Node may take to get the podCIDR that Auto adopts.
const PodCIDRWait = 10 * time.Second

// Take is a lease that a node's subnet needs.
type Take struct {
	Prefix netip.Prefix
	Node   string
	// Exists says that the lease is there: it is held, and no longer released, instead of created.
	Exists bool
	// Adopted and Reserved are the marks the lease gets.
	Adopted, Reserved bool
	// Bound says that the node uses the subnet already and only its lease is amiss: its state stays as it is.
	Bound bool
}

// Recycled is a released lease that was taken before its time.
type Recycled struct {
	Prefix netip.Prefix
	From   string // the node it waited for
	To     string // the node that needs the room
}

// Plan is what has to be written, in this order: Release, Delete, Unhold; Subnets; Take; and after Settle the bound subnets.
type Plan struct {
	// Subnets is what NodeNetwork.spec.subnets holds for every node that exists.
	Subnets map[string][]plan.Subnet
	// Problems says, by node, why it has no subnet, or what is wrong although it has one.
	Problems map[string]plan.Problem
	// Take lists the leases of subnets that are not bound yet or have lost their lease, in the order of their addresses.
	Take []Take
	// Release lists leases whose node is gone.
	Release []netip.Prefix
	// Delete lists leases that go: expired, recycled, deleted by somebody while nobody uses them, or left over.
	Delete []netip.Prefix
	// Unhold lists reservations that give their finalizer back: they are their user's to delete.
	Unhold   []netip.Prefix
	Recycled []Recycled
	// States says what to tell about leases that are not a node's subnet.
	States map[netip.Prefix]plan.Problem
	// Gone lists the NodeNetworks whose Node does not exist.
	Gone []string
	// Exhausted lists the nodes for which nothing is free, in the order in which they are served.
	Exhausted []string
	// Total and Used count the subnets between subnetMin and subnetMax once the plan is carried out.
	Total, Used uint64
	// Next is when time alone changes the plan; zero when it never does.
	Next time.Time
}

// planner carries one Make.
type planner struct {
	cfg     network.Config
	cluster plan.Cluster
	now     time.Time
	nodes   []plan.Node
	// own lists the leases of a node in the order of their addresses.
	own map[string][]plan.Lease
	// taken holds every lease and every subnet chosen in this pass. Leases about to be deleted stay in: until that has
	// happened they are in the way.
	taken *prefixSet
	// chosenBy says whose subnet a prefix is.
	chosenBy map[netip.Prefix]string
	deleted  map[netip.Prefix]bool
	out      Plan
}

// Make plans a pass.
func Make(cfg network.Config, cluster plan.Cluster, now time.Time) Plan {
	p := &planner{
		cfg: cfg, cluster: cluster, now: now, nodes: cluster.SortedNodes(),
		own: map[string][]plan.Lease{}, chosenBy: map[netip.Prefix]string{}, deleted: map[netip.Prefix]bool{},
		out: Plan{
			Subnets: map[string][]plan.Subnet{}, Problems: map[string]plan.Problem{}, States: map[netip.Prefix]plan.Problem{},
		},
	}
	prefixes := make([]netip.Prefix, 0, len(cluster.Leases))
	for _, l := range cluster.SortedLeases() {
		prefixes = append(prefixes, l.Prefix)
		p.own[l.Node] = append(p.own[l.Node], l)
	}
	p.taken = newPrefixSet(prefixes)

	p.gone()
	for _, n := range p.nodes {
		p.keep(n)
	}
	for _, r := range cfg.Ranges {
		p.assign(r)
		p.count(r)
	}
	p.leftovers()
	p.states()
	p.finish()
	return p.out
}

// keep takes over the subnets that the node's pods use, as long as their leases are the node's or can be again.
func (p *planner) keep(n plan.Node) {
	p.out.Subnets[n.Name] = nil
	for _, s := range p.cluster.NodeNetworks[n.Name].Subnets {
		if !s.InUse() || p.chosenBy[s.Prefix] != "" {
			continue
		}
		l, exists := p.cluster.Leases[s.Prefix]
		if !exists {
			if l = p.lost(n, s.Prefix); !p.fits(l) {
				continue
			}
			if _, blocked := p.taken.other(s.Prefix); blocked {
				continue
			}
		}
		if l.Node != n.Name {
			continue
		}
		p.choose(n, s)
		if !exists || !l.Held || l.Released() {
			p.take(n, s.Prefix, Take{Bound: true, Adopted: l.Adopted, Reserved: l.Reserved})
		}
	}
}

// lost is the lease that a subnet in use must have had. Somebody tore it out; or its node was gone, and came back before its
// NodeNetwork went too, perhaps to another configuration.
func (p *planner) lost(n plan.Node, prefix netip.Prefix) plan.Lease {
	return plan.Lease{Prefix: prefix, Node: n.Name, Held: true, Adopted: slices.Contains(n.PodCIDRs, prefix)}
}

// choose records that s is the node's.
func (p *planner) choose(n plan.Node, s plan.Subnet) {
	p.out.Subnets[n.Name] = append(p.out.Subnets[n.Name], s)
	p.chosenBy[s.Prefix] = n.Name
	p.taken.add(s.Prefix)
}

// take records that the lease of a chosen subnet has to be there.
func (p *planner) take(n plan.Node, prefix netip.Prefix, t Take) {
	_, exists := p.cluster.Leases[prefix]
	t.Prefix, t.Node, t.Exists = prefix, n.Name, exists && !p.deleted[prefix]
	p.out.Take = append(p.out.Take, t)
}

// intend chooses a subnet the node does not have yet.
func (p *planner) intend(n plan.Node, prefix netip.Prefix, t Take) {
	p.choose(n, plan.Subnet{Prefix: prefix, State: v1alpha1.SubnetIntended})
	p.take(n, prefix, t)
}

// remove plans a lease's deletion.
func (p *planner) remove(prefix netip.Prefix) {
	if !p.deleted[prefix] {
		p.deleted[prefix] = true
		p.out.Delete = append(p.out.Delete, prefix)
	}
}

// problem records the first thing that is wrong with a node.
func (p *planner) problem(n plan.Node, reason, format string, args ...any) {
	if _, ok := p.out.Problems[n.Name]; !ok {
		p.out.Problems[n.Name] = plan.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// wake asks for a pass at t.
func (p *planner) wake(t time.Time) {
	if p.out.Next.IsZero() || t.Before(p.out.Next) {
		p.out.Next = t
	}
}

// has says whether the node has a subnet of the range's family, bound or chosen in this pass.
func (p *planner) has(n plan.Node, r network.Range) bool {
	return slices.ContainsFunc(p.out.Subnets[n.Name], func(s plan.Subnet) bool { return sameFamily(s.Prefix, r) })
}

func sameFamily(p netip.Prefix, r network.Range) bool {
	return p.Addr().Is4() == r.Network.Addr().Is4()
}

// count adds the range's subnets to the totals.
func (p *planner) count(r network.Range) {
	p.out.Total += r.Size()
	next := uint64(0) // the first number not counted yet
	for _, q := range p.taken.sorted {
		if p.deleted[q] && p.chosenBy[q] == "" {
			continue
		}
		from, to, ok := r.Span(q)
		if from = max(from, next); !ok || to < from {
			continue
		}
		p.out.Used += to - from + 1
		next = to + 1
	}
}

func (p *planner) finish() {
	slices.SortFunc(p.out.Take, func(a, b Take) int { return a.Prefix.Compare(b.Prefix) })
	slices.SortFunc(p.out.Release, netip.Prefix.Compare)
	slices.SortFunc(p.out.Delete, netip.Prefix.Compare)
	slices.SortFunc(p.out.Unhold, netip.Prefix.Compare)
	slices.SortFunc(p.out.Recycled, func(a, b Recycled) int { return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.To, b.To)) })
	slices.Sort(p.out.Gone)
}
