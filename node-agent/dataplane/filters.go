package dataplane

import "fmt"

// setFilters applies the packet filters, each even if the one before failed: a table that cannot be written must not keep
// the FORWARD rules away.
func (p *pass) setFilters() {
	if p.want.Firewall != nil {
		p.syncFilters()
	}
}

// dropFilters removes the packet filters when nothing is to be filtered any more, after the routes are gone.
func (p *pass) dropFilters() {
	if p.want.Firewall == nil && p.ok(KindRoute) {
		p.syncFilters()
	}
}

func (p *pass) syncFilters() {
	for _, f := range p.opts.Filters {
		changes, problems, err := f.Sync(p.ctx, p.want.Firewall, p.full)
		if changes > 0 {
			p.changes[KindFirewall] += changes
		}
		for _, problem := range problems {
			p.problem(problem.Reason, "%s", problem.Message)
		}
		if err != nil {
			p.filterFailed = true
			p.fail(KindFirewall, fmt.Errorf("apply packet filter: %w", err))
		}
	}
}
