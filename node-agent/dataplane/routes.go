package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// routeKey is what the kernel tells routes of a table apart by.
type routeKey struct {
	Table  int
	Prefix netip.Prefix
	Metric uint32
	TOS    uint8
}

func (r Route) key() routeKey { return routeKey{r.Table, r.Prefix, r.Metric, r.TOS} }

// routeWork is what a pass knows of the routes.
type routeWork struct {
	// spare are hopsack's routes that are not wanted, or not wanted twice.
	spare []Route
	// held says that a route could not be put where it belongs, so that what it uses now must stay.
	held bool
}

// setRoutes makes the wanted routes. A missing one is created exclusively, one that a dump has shown as hopsack's is replaced
// in one step: packets always have a way. The kernel replaces the first route of a prefix and metric, whoever's it is, so
// where a foreign one is there nothing is written.
func (p *pass) setRoutes() {
	found, err := retried("routes", func() ([]Route, error) {
		return p.kernel.Routes(func(prefix netip.Prefix) bool {
			_, ok := p.want.Routes[prefix]
			return ok
		})
	})
	if err != nil {
		p.routes.held = true
		p.failRead(KindRoute, err)
		return
	}
	want, waiting := p.wantRoutes()
	ours, foreign := p.sortRoutes(found, want)
	delta := Diff(want, ours, compareRoutes)
	for _, e := range delta.Set {
		if p.ctx.Err() != nil {
			return
		}
		if _, taken := foreign[e.Key.Prefix]; taken {
			continue // sortRoutes has said so
		}
		if p.holdRoute(p.want.Routes[e.Key.Prefix]) {
			p.held++
			p.routes.held = true
			continue
		}
		p.did(KindRoute, wrap(p.kernel.SetRoute(e.Value, e.Was), "set route %s", p.describe(e.Value)))
	}
	for _, key := range delta.Delete {
		if !waiting[key] {
			p.routes.spare = append(p.routes.spare, ours[key])
		}
	}
}

// wantRoutes is the wanted routes as the kernel would show them. waiting are those whose device cannot be used: a route that
// is there stays as it is.
func (p *pass) wantRoutes() (want map[routeKey]Route, waiting map[routeKey]bool) {
	want, waiting = make(map[routeKey]Route, len(p.want.Routes)), map[routeKey]bool{}
	missing := map[string]bool{}
	for prefix, r := range p.want.Routes {
		out := routeOf(0, prefix, r)
		if !r.Unreachable {
			index, ok := p.usable(r.Device)
			if !ok {
				waiting[out.key()] = true
				p.held++
				p.routes.held = true
				missing[r.Device] = true
				continue
			}
			out.Index = index
		}
		want[out.key()] = out
	}
	for device := range missing {
		if !p.unusable[device] { // else its own error or Problem has said why
			p.fail(KindRoute, fmt.Errorf("set routes on %s: there is no such device", device))
		}
	}
	return want, waiting
}

// routeOf is a wanted route as the kernel would show it, but for its device.
func routeOf(table int, prefix netip.Prefix, r desired.Route) Route {
	return Route{
		Table: table, Prefix: prefix, Protocol: RouteProtocol, Unreachable: r.Unreachable, Gateway: r.Gateway, OnLink: r.OnLink,
		Source: r.Source, MTU: uint32(r.MTU),
	}
}

// sortRoutes tells hopsack's routes from foreign ones in the way. Of several with the same key the wanted one is taken, the
// others are spare.
func (p *pass) sortRoutes(found []Route, want map[routeKey]Route) (ours map[routeKey]Route, foreign map[netip.Prefix]bool) {
	ours, foreign = make(map[routeKey]Route, len(want)), map[netip.Prefix]bool{}
	for _, r := range found {
		key := r.key()
		if r.Protocol != RouteProtocol {
			if r.Metric == 0 && r.TOS == 0 {
				foreign[r.Prefix] = true
				p.problem(v1alpha1.ReasonForeignRoute, "route %s proto %d is not hopsack's, and hopsack needs the prefix", p.describe(r), r.Protocol)
			}
			continue
		}
		other, twice := ours[key]
		switch {
		case !twice:
			ours[key] = r
		case r == want[key]:
			ours[key] = r
			p.routes.spare = append(p.routes.spare, other)
		default:
			p.routes.spare = append(p.routes.spare, r)
		}
	}
	return ours, foreign
}

// holdRoute says whether a route would lead packets to something that is not in place: an ARP or FDB entry that could not be
// set, or a packet filter without the route's exemptions.
func (p *pass) holdRoute(r desired.Route) bool {
	return p.filterFailed || p.heldPeers[desired.NeighKey{Device: r.Device, IP: r.Gateway}]
}

// dropRoutes deletes the routes that are not wanted.
func (p *pass) dropRoutes() {
	for _, r := range p.routes.spare {
		if p.ctx.Err() != nil {
			return
		}
		p.did(KindRoute, wrap(p.kernel.DeleteRoute(r), "delete route %s", p.describe(r)))
	}
}

// describe prints a route as ip does.
func (p *pass) describe(r Route) string {
	var out strings.Builder
	if r.Unreachable {
		out.WriteString("unreachable ")
	}
	out.WriteString(r.Prefix.String())
	if r.Gateway.IsValid() {
		fmt.Fprintf(&out, " via %s", r.Gateway)
	}
	if name, ok := p.names[r.Index]; ok {
		fmt.Fprintf(&out, " dev %s", name)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&out, " metric %d", r.Metric)
	}
	if r.Table != 0 {
		fmt.Fprintf(&out, " table %d", r.Table)
	}
	return out.String()
}

// compareRoutes puts longer prefixes first: the answer "unreachable" for a pod network comes after the routes it must not
// stand in for.
func compareRoutes(a, b routeKey) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), a.Prefix.Compare(b.Prefix), cmp.Compare(a.Metric, b.Metric),
		cmp.Compare(a.TOS, b.TOS))
}
