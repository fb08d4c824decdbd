package leases

import (
	"github.com/hopsack-net/hopsack/internal/plan"
)

// gone releases what belonged to nodes that do not exist, and ends retention.
func (p *planner) gone() {
	for name := range p.cluster.NodeNetworks {
		if _, ok := p.cluster.Nodes[name]; !ok {
			p.out.Gone = append(p.out.Gone, name)
		}
	}
	for _, l := range p.cluster.SortedLeases() {
		if _, ok := p.cluster.Nodes[l.Node]; ok || !l.Held && !l.Published {
			continue // in use, or a reservation for a node that may come one day
		}
		switch {
		case l.Deleting:
			p.remove(l.Prefix)
		case l.Reserved:
			if !l.Released() {
				p.out.Release = append(p.out.Release, l.Prefix)
			}
			if l.Held {
				p.out.Unhold = append(p.out.Unhold, l.Prefix)
			}
		case !l.Released() && p.cfg.Retention > 0:
			p.out.Release = append(p.out.Release, l.Prefix)
			p.wake(p.now.Add(p.cfg.Retention))
		case p.expired(l) || !p.fits(l):
			p.remove(l.Prefix)
		default:
			p.wake(l.ReleasedAt.Add(p.cfg.Retention))
		}
	}
}

func (p *planner) expired(l plan.Lease) bool {
	return !p.now.Before(l.ReleasedAt.Add(p.cfg.Retention))
}

// fits says whether the configuration still allows the lease: chosen ones have to be a subnet between subnetMin and
// subnetMax, adopted and reserved ones only inside the network.
func (p *planner) fits(l plan.Lease) bool {
	r, ok := p.cfg.RangeOf(l.Prefix)
	if !ok || !r.Inside(l.Prefix) {
		return false
	}
	return l.Adopted || l.Reserved || !l.Held || r.Holds(l.Prefix)
}

// leftovers drops the leases of existing nodes that no node's subnet needs.
func (p *planner) leftovers() {
	for _, l := range p.cluster.SortedLeases() {
		n, exists := p.cluster.Nodes[l.Node]
		if !exists || !l.Held || p.chosenBy[l.Prefix] == l.Node || p.deleted[l.Prefix] {
			continue
		}
		switch {
		case l.Reserved && !l.Deleting:
			p.out.Unhold = append(p.out.Unhold, l.Prefix)
		case !l.Released() || l.Deleting || p.settled(n, l):
			p.remove(l.Prefix)
		}
	}
}

// settled says whether the node has another subnet of the lease's family bound: then it will not come back to a released one.
func (p *planner) settled(n plan.Node, l plan.Lease) bool {
	for _, s := range p.cluster.NodeNetworks[n.Name].Subnets {
		if s.InUse() && s.Prefix.Addr().Is4() == l.Prefix.Addr().Is4() && p.chosenBy[s.Prefix] == n.Name {
			return true
		}
	}
	return false
}
