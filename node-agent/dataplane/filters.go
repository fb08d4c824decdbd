package dataplane

import "fmt"

// setFilters applies the packet filters. Routes wait for the table, as a flow that starts before its exemption is
// masqueraded for life; nothing waits for the rules in FORWARD, without which packets are dropped until they are there.
func (p *pass) setFilters() {
	if p.want.Firewall == nil {
		return
	}
	p.filterFailed = !p.syncFilter(p.opts.Table)
	p.syncFilter(p.opts.Forward)
}

// dropFilters removes the packet filters when nothing is to be filtered any more, after the routes are gone.
func (p *pass) dropFilters() {
	if p.want.Firewall == nil && p.ok(KindRoute) {
		p.syncFilter(p.opts.Table)
		p.syncFilter(p.opts.Forward)
	}
}

func (p *pass) syncFilter(f Filter) bool {
	changes, problems, err := f.Sync(p.ctx, p.want.Firewall, p.full)
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
