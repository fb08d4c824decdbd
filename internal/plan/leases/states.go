package leases

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// states says what to tell about every lease that stays and is not its node's subnet.
func (p *planner) states() {
	released := map[netip.Prefix]bool{}
	for _, prefix := range p.out.Release {
		released[prefix] = true
	}
	for _, l := range p.cluster.SortedLeases() {
		if p.deleted[l.Prefix] || p.chosenBy[l.Prefix] == l.Node {
			continue
		}
		if l.Released() || released[l.Prefix] {
			p.out.States[l.Prefix] = p.releasedState(l)
			continue
		}
		p.out.States[l.Prefix] = p.reservationState(l)
	}
}

func (p *planner) releasedState(l plan.Lease) plan.Problem {
	if l.Reserved {
		return plan.Problem{Reason: v1alpha1.ReasonReleased, Message: fmt.Sprintf("node %s is gone; the subnet stays reserved for it", l.Node)}
	}
	if _, back := p.cluster.Nodes[l.Node]; back {
		return plan.Problem{Reason: v1alpha1.ReasonReleased, Message: fmt.Sprintf("node %s is back; which subnet it gets is being decided", l.Node)}
	}
	since := l.ReleasedAt
	if since.IsZero() {
		since = p.now
	}
	return plan.Problem{Reason: v1alpha1.ReasonReleased, Message: fmt.Sprintf("node %s is gone; the subnet waits for it until %s",
		l.Node, since.Add(p.cfg.Retention).UTC().Format(time.RFC3339))}
}

func (p *planner) reservationState(l plan.Lease) plan.Problem {
	r, ok := p.cfg.RangeOf(l.Prefix)
	if !ok || !r.Inside(l.Prefix) {
		return plan.Problem{Reason: v1alpha1.ReasonOutsideNetwork, Message: fmt.Sprintf("%s lies outside network %s", l.Prefix, p.cfg.Ranges[0].Network)}
	}
	if other, ok := p.taken.other(l.Prefix); ok {
		return plan.Problem{Reason: v1alpha1.ReasonOverlaps, Message: fmt.Sprintf("%s overlaps %s", l.Prefix, p.owner(other))}
	}
	if _, ok := p.cluster.Nodes[l.Node]; !ok {
		return plan.Problem{Reason: v1alpha1.ReasonPending, Message: fmt.Sprintf("reserved for node %s, which does not exist", l.Node)}
	}
	for _, s := range p.out.Subnets[l.Node] {
		if s.Prefix.Addr().Is4() == l.Prefix.Addr().Is4() {
			return plan.Problem{Reason: v1alpha1.ReasonPending, Message: fmt.Sprintf("node %s already has lease %s", l.Node, network.LeaseName(s.Prefix))}
		}
	}
	return plan.Problem{Reason: v1alpha1.ReasonPending, Message: fmt.Sprintf("reserved for node %s", l.Node)}
}
