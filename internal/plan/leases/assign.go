package leases

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// assign finds a subnet for every node that has none. Whoever has a claim to a certain subnet is served before those to whom
// any will do, so that nobody is handed what another one must get.
func (p *planner) assign(r network.Range) {
	var open []plan.Node
	for _, n := range p.nodes {
		if bad, ok := addressInside(n, r.Network); ok {
			p.problem(n, v1alpha1.ReasonNodeAddressOverlaps, "the node's address %s lies inside network %s", bad, r.Network)
		}
		if !p.has(n, r) && p.claim(n, r) {
			open = append(open, n)
		}
	}
	open = slices.DeleteFunc(open, func(n plan.Node) bool { return p.keepIntent(n, r) })
	free := finder{r: r}
	for _, n := range open {
		p.fresh(n, r, &free)
	}
}

func addressInside(n plan.Node, network netip.Prefix) (netip.Addr, bool) {
	for _, a := range n.InternalIPs {
		if network.Contains(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// claim serves a node that has a claim to a certain subnet; it returns true when any other will do. The claims, best first:
// a lease that is the node's already (the NodeNetwork was lost, or a pass died half-way), a reservation, the subnet it had
// before it went away, its podCIDR.
func (p *planner) claim(n plan.Node, r network.Range) bool {
	if p.reclaim(n, r) {
		return false
	}
	if _, bad := p.out.Problems[n.Name]; bad {
		return false // its own address lies inside the network: no subnet can be its
	}
	for _, l := range p.own[n.Name] {
		if sameFamily(l.Prefix, r) && !l.Held {
			return p.reservation(n, r, l)
		}
	}
	if p.comeBack(n, r, false) {
		return false
	}
	if cidr, ok := n.PodCIDR(r); p.cfg.PodCIDRs == v1alpha1.PodCIDRsAuto {
		if ok && Adoptable(r, cidr) {
			p.adopt(n, cidr)
			return false
		}
		until := n.Created.Add(PodCIDRWait)
		if wait := until.Sub(p.now); !ok && wait > 0 && wait <= 2*PodCIDRWait { // more: the clocks disagree
			p.problem(n, v1alpha1.ReasonWaitingForPodCIDR, "a new node has %s to get a podCIDR (spec.podCIDRs is Auto)", PodCIDRWait)
			p.wake(until)
			return false
		}
	}
	return !p.comeBack(n, r, true)
}

// reclaim takes up the leases that are held for the node already. Those that were published were bound, so they are again, all
// of them: the node's pods use them. Of others, which a pass made and did not come to bind, one is enough; one in deletion is
// not taken, unless the NodeNetwork is missing that would say whether it was bound.
func (p *planner) reclaim(n plan.Node, r network.Range) bool {
	var unbound *plan.Lease
	_, known := p.cluster.NodeNetworks[n.Name]
	for _, l := range p.own[n.Name] {
		if !sameFamily(l.Prefix, r) || !l.Held || l.Released() || p.chosenBy[l.Prefix] != "" {
			continue
		}
		if l.Published {
			p.choose(n, plan.Subnet{Prefix: l.Prefix, State: v1alpha1.SubnetBound})
			continue
		}
		if _, overlaps := p.taken.other(l.Prefix); unbound == nil && !overlaps && (!l.Deleting || !known) && p.fits(l) {
			unbound = &l
		}
	}
	if !p.has(n, r) && unbound != nil {
		p.intend(n, unbound.Prefix, Take{Adopted: unbound.Adopted, Reserved: unbound.Reserved})
	}
	return p.has(n, r)
}

// reservation serves a node for which a user made a lease. It never gets another subnet instead: the condition says what is
// in the way.
func (p *planner) reservation(n plan.Node, r network.Range, l plan.Lease) bool {
	if !r.Inside(l.Prefix) {
		p.problem(n, v1alpha1.ReasonOutsideNetwork, "the subnet %s reserved for the node lies outside network %s", l.Prefix, r.Network)
		return false
	}
	if other, blocked := p.makeRoom(n, l.Prefix); blocked {
		p.problem(n, v1alpha1.ReasonReservationOverlaps, "the subnet %s reserved for the node overlaps %s", l.Prefix, p.owner(other))
		return false
	}
	p.intend(n, l.Prefix, Take{Reserved: true})
	return false
}

// comeBack gives a returning node the subnet that waited for it.
func (p *planner) comeBack(n plan.Node, r network.Range, adopted bool) bool {
	for _, l := range p.own[n.Name] {
		if !sameFamily(l.Prefix, r) || !l.Held || !l.Released() || l.Deleting || l.Adopted != adopted || !p.fits(l) {
			continue
		}
		if _, overlaps := p.taken.other(l.Prefix); overlaps || p.chosenBy[l.Prefix] != "" {
			continue
		}
		p.intend(n, l.Prefix, Take{Adopted: l.Adopted, Reserved: l.Reserved})
		return true
	}
	return false
}

// Adoptable says whether a podCIDR can be a lease: it lies inside the network and is neither too wide nor too narrow for one.
func Adoptable(r network.Range, cidr netip.Prefix) bool {
	return r.Inside(cidr) && (cidr.Addr().Is6() || cidr.Bits() >= 9 && cidr.Bits() <= 30)
}

// adopt makes the node's podCIDR its subnet.
func (p *planner) adopt(n plan.Node, cidr netip.Prefix) {
	if other, blocked := p.makeRoom(n, cidr); blocked {
		p.problem(n, v1alpha1.ReasonPodCIDROverlaps, "the node's podCIDR %s overlaps %s", cidr, p.owner(other))
		return
	}
	p.intend(n, cidr, Take{Adopted: true})
}

// makeRoom says which lease, or subnet chosen in this pass, keeps the node from having prefix. Released leases are not in the
// way: nothing else can serve this node, so they are recycled.
func (p *planner) makeRoom(n plan.Node, prefix netip.Prefix) (blocker netip.Prefix, blocked bool) {
	var recycle []plan.Lease
	for _, q := range p.taken.overlapping(prefix) {
		l, exists := p.cluster.Leases[q]
		switch {
		case q == prefix && exists && l.Node == n.Name:
		case exists && p.recyclable(l):
			recycle = append(recycle, l)
		default:
			return q, true
		}
	}
	for _, l := range recycle {
		p.recycle(n, l)
	}
	return netip.Prefix{}, false
}

// recyclable says that a lease only waits for a node that is gone, or for one that will get another subnet.
func (p *planner) recyclable(l plan.Lease) bool {
	return l.Held && l.Released() && !l.Reserved && p.chosenBy[l.Prefix] == ""
}

func (p *planner) recycle(n plan.Node, l plan.Lease) {
	if !p.deleted[l.Prefix] && l.Node != n.Name {
		p.out.Recycled = append(p.out.Recycled, Recycled{Prefix: l.Prefix, From: l.Node, To: n.Name})
	}
	p.remove(l.Prefix)
	p.taken.remove(l.Prefix)
}

// owner describes what holds a prefix.
func (p *planner) owner(q netip.Prefix) string {
	if by := p.chosenBy[q]; by != "" {
		return fmt.Sprintf("%s of node %s", q, by)
	}
	if l, ok := p.cluster.Leases[q]; ok {
		return fmt.Sprintf("lease %s of node %s", network.LeaseName(q), l.Node)
	}
	return q.String()
}

// keepIntent stays with the subnet that an earlier pass recorded for the node, if it is still good.
func (p *planner) keepIntent(n plan.Node, r network.Range) bool {
	for _, s := range p.cluster.NodeNetworks[n.Name].Subnets {
		if s.State == v1alpha1.SubnetIntended && r.Holds(s.Prefix) && len(p.taken.overlapping(s.Prefix)) == 0 {
			p.intend(n, s.Prefix, Take{})
			return true
		}
	}
	return false
}

// fresh gives the node the lowest free subnet, else the one that has waited longest for a node that is gone.
func (p *planner) fresh(n plan.Node, r network.Range, free *finder) {
	if prefix, ok := free.next(p.taken); ok {
		p.intend(n, prefix, Take{})
		return
	}
	if prefix, ok := p.oldestReleased(n, r); ok {
		p.intend(n, prefix, Take{})
		return
	}
	p.out.Exhausted = append(p.out.Exhausted, n.Name)
	p.problem(n, v1alpha1.ReasonSubnetsExhausted, "no subnet is free: all %d between %s and %s are taken (spec.subnetMin, spec.subnetMax)",
		r.Size(), r.At(0), r.At(r.Size()-1))
}

// finder walks once through the numbers of a range: within a pass nothing below becomes free again.
type finder struct {
	r  network.Range
	at uint64
}

func (f *finder) next(taken *prefixSet) (netip.Prefix, bool) {
	for f.at < f.r.Size() {
		p := f.r.At(f.at)
		over := taken.overlapping(p)
		if len(over) == 0 {
			f.at++
			return p, true
		}
		_, to, _ := f.r.Span(over[0])
		f.at = max(f.at, to) + 1
	}
	return netip.Prefix{}, false
}

// oldestReleased recycles the released leases that hold one subnet, looking at the longest released first.
func (p *planner) oldestReleased(n plan.Node, r network.Range) (netip.Prefix, bool) {
	var candidates []plan.Lease
	for _, l := range p.cluster.Leases {
		if p.recyclable(l) && !p.deleted[l.Prefix] {
			candidates = append(candidates, l)
		}
	}
	slices.SortFunc(candidates, func(a, b plan.Lease) int {
		return cmp.Or(a.ReleasedAt.Compare(b.ReleasedAt), a.Prefix.Compare(b.Prefix))
	})
	for _, l := range candidates {
		from, to, ok := r.Span(l.Prefix)
		for i := from; ok && i <= to; i++ {
			if _, blocked := p.makeRoom(n, r.At(i)); !blocked {
				return r.At(i), true
			}
		}
	}
	return netip.Prefix{}, false
}
