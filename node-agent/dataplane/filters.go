package dataplane

import (
	"fmt"
	"slices"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// setFilters applies the packet filters. Routes wait for the table, as a flow that starts before its exemption is
// masqueraded for life; nothing waits for the rules in FORWARD, without which packets are dropped until they are there.
func (p *pass) setFilters() {
	if p.want.Firewall == nil {
		return
	}
	p.filterFailed = !p.syncFilter(p.opts.Table, p.firewall())
	p.syncFilter(p.opts.Forward, p.want.Firewall)
}

// dropFilters removes the packet filters when nothing is to be filtered any more, after the routes are gone.
func (p *pass) dropFilters() {
	if p.want.Firewall == nil && p.ok(KindRoute) {
		p.syncFilter(p.opts.Table, p.firewall())
		p.syncFilter(p.opts.Forward, p.want.Firewall)
	}
}

// closePorts closes the ports of tunnels that this pass has deleted: until then they were open to peers and to nobody else.
func (p *pass) closePorts() {
	if p.want.Firewall != nil && p.closed && !p.filterFailed {
		p.syncFilter(p.opts.Table, p.firewall())
	}
}

// firewall is the wanted filter with the ports of the tunnels that are still there.
func (p *pass) firewall() *desired.Firewall {
	if p.want.Firewall == nil || len(p.closing) == 0 {
		return p.want.Firewall
	}
	out := *p.want.Firewall
	out.TunnelPorts = slices.Clone(out.TunnelPorts)
	for name := range p.closing {
		out.TunnelPorts = append(out.TunnelPorts, p.links[name].Port)
	}
	slices.Sort(out.TunnelPorts)
	out.TunnelPorts = slices.Compact(out.TunnelPorts)
	return &out
}

func (p *pass) syncFilter(f Filter, want *desired.Firewall) bool {
	changes, problems, err := f.Sync(p.ctx, want, p.full)
	if changes > 0 {
		p.changes[KindFirewall] += changes
	}
	for _, problem := range problems {
		p.problem(problem.Reason, "%s", problem.Message)
	}
	if err != nil {
		p.fail(KindFirewall, fmt.Errorf("apply packet filter: %w", err))
	}
	return err == nil
}
