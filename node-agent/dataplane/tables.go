package dataplane

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// tableWork is what a pass knows of the routing tables of probes, and of the rules that lead there.
type tableWork struct {
	spareRoutes []Route
	spareRules  []Rule
	// held are the tables that lack something: a rule that led there would prove what is not so.
	held map[int]bool
}

// setTables makes the routes of tables other than main. Where none are wanted and none were seen, only a full pass looks.
func (p *pass) setTables() {
	p.tables.held = map[int]bool{}
	numbers := map[int]bool{}
	for n := range p.want.Tables {
		numbers[n] = true
	}
	maps.Copy(numbers, p.Dataplane.tables)
	if p.full {
		p.findTables(numbers)
	}
	p.Dataplane.tables = map[int]bool{}
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		if p.ctx.Err() != nil {
			maps.Copy(p.Dataplane.tables, numbers)
			return
		}
		p.setTable(n)
	}
}

// findTables adds the tables that hold routes of hopsack's.
func (p *pass) findTables(numbers map[int]bool) {
	found, err := retried("routes of all tables", func() ([]Route, error) { return p.kernel.TableRoutes(0) })
	if err != nil {
		p.failRead(KindRoute, err)
		return
	}
	for _, r := range found {
		numbers[r.Table] = true
	}
}

func (p *pass) setTable(number int) {
	want := p.want.Tables[number]
	if len(want) > 0 {
		p.Dataplane.tables[number] = true
	}
	found, err := retried(fmt.Sprintf("routes of table %d", number), func() ([]Route, error) { return p.kernel.TableRoutes(number) })
	if err != nil {
		p.Dataplane.tables[number], p.tables.held[number] = true, true
		p.failRead(KindRoute, err)
		return
	}
	ours, foreign := p.sortTable(found)
	delta := Diff(p.wantTable(number, want), ours, compareRoutes)
	for _, e := range delta.Set {
		r := want[e.Key.Prefix]
		if foreign[e.Key.Prefix] || p.holdRoute(r) {
			p.held++
			p.tables.held[number] = true
			continue
		}
		if !p.did(KindRoute, wrap(p.kernel.SetRoute(e.Value, e.Was), "set route %s", p.describe(e.Value))) {
			p.tables.held[number] = true
		}
	}
	for _, key := range delta.Delete {
		p.tables.spareRoutes = append(p.tables.spareRoutes, ours[key])
	}
}

// wantTable is a table as the kernel would show it. A route whose device cannot be used is left out, which takes away the one
// that is there: nothing is to be proven by it.
func (p *pass) wantTable(number int, want map[netip.Prefix]desired.Route) map[routeKey]Route {
	out := make(map[routeKey]Route, len(want))
	for prefix, r := range want {
		route := routeOf(number, prefix, r)
		route.Metric = spreadMetric(prefix)
		if !r.Unreachable {
			index, ok := p.usable(r.Device)
			if !ok {
				p.held++
				p.tables.held[number] = true
				if !p.unusable[r.Device] {
					p.fail(KindRoute, fmt.Errorf("set routes of table %d on %s: there is no such device", number, r.Device))
				}
				continue
			}
			route.Index = index
		}
		out[route.key()] = route
	}
	return out
}

// spreadMetric gives the routes of a table metrics that differ. They mean nothing, as there is one route per prefix; but the
// kernel looks for a path that it can share among those of the same metric, source and device, one by one, gateways not being in
// its hash (fib_find_info, Linux 6.18): with 5,000 peers in three tables, that takes ten seconds.
func spreadMetric(prefix netip.Prefix) uint32 {
	const metrics = 4096
	h := fnv.New32a()
	_, _ = h.Write(prefix.Addr().AsSlice()) // never fails
	return 1 + h.Sum32()%metrics
}

// sortTable tells hopsack's routes from others. Of several with the same key the first is the one that is replaced.
func (p *pass) sortTable(found []Route) (ours map[routeKey]Route, foreign map[netip.Prefix]bool) {
	ours, foreign = make(map[routeKey]Route, len(found)), map[netip.Prefix]bool{}
	for _, r := range found {
		switch _, twice := ours[r.key()]; {
		case r.Protocol != RouteProtocol:
			if _, wanted := p.want.Tables[r.Table][r.Prefix]; wanted {
				foreign[r.Prefix] = true
				p.problem(v1alpha1.ReasonForeignRoute, "route %s proto %d is not hopsack's, and hopsack needs the prefix", p.describe(r), r.Protocol)
			}
		case twice:
			p.tables.spareRoutes = append(p.tables.spareRoutes, r)
		default:
			ours[r.key()] = r
		}
	}
	return ours, foreign
}

// setRules adds the rules whose tables are complete. One that leads to a table with something missing goes.
func (p *pass) setRules() {
	if len(p.want.Rules) == 0 && !p.Dataplane.rules && !p.full {
		return
	}
	found, err := retried("rules", p.kernel.Rules)
	if err != nil {
		p.Dataplane.rules = true
		p.failRead(KindRule, err)
		return
	}
	want := make(map[Rule]struct{}, len(p.want.Rules))
	for r := range p.want.Rules {
		if p.tables.held[r.Table] {
			p.held++
			continue
		}
		want[Rule{Rule: r, Priority: RulePriority, IPv6: r.Source.Is6()}] = struct{}{}
	}
	have := make(map[Rule]struct{}, len(found))
	for _, r := range found {
		have[r] = struct{}{}
	}
	p.Dataplane.rules = len(found) > 0 || len(want) > 0
	delta := Diff(want, have, compareRules)
	for _, e := range delta.Set {
		p.did(KindRule, wrap(p.kernel.AddRule(e.Key.Rule), "add rule %s", e.Key.Rule))
	}
	p.tables.spareRules = delta.Delete
	p.checkRules()
}

// dropRules deletes the rules that are not wanted, before their tables: a probe that finds an empty table goes on to main.
func (p *pass) dropRules() {
	for _, r := range p.tables.spareRules {
		p.did(KindRule, wrap(p.kernel.DeleteRule(r), "delete rule %s", r.Rule))
	}
}

// dropTables deletes the routes that are not wanted.
func (p *pass) dropTables() {
	for _, r := range p.tables.spareRoutes {
		p.Dataplane.tables[r.Table] = true
		if p.ctx.Err() != nil {
			continue // the next pass knows where to look
		}
		if !p.ok(KindRule) {
			p.held++
			continue
		}
		p.did(KindRoute, wrap(p.kernel.DeleteRoute(r), "delete route %s", p.describe(r)))
	}
}

func compareRules(a, b Rule) int {
	odd := func(r Rule) int {
		if r.Odd {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Port, b.Port), a.Source.Compare(b.Source),
		cmp.Compare(a.Priority, b.Priority), cmp.Compare(odd(a), odd(b)))
}
