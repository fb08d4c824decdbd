package desired

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
)

// Numbers of the paths that can be probed. Each revision has a slot for each kind.
const (
	// CurrentProbePort is the UDP source port of probes over the routes in force.
	CurrentProbePort = 10400
	firstProbePort   = 10401
	firstProbeTable  = 10400
	probeSlots       = 8
	kindsPerSlot     = 2
)

// probes adds the paths that can be proven: always the routes in force, and with a choice of paths each of them.
func (c *computer) probes() {
	n := c.in.Node
	source, ok := handoff.ReservedAddress(n.StableSubnet())
	if !ok {
		return // a subnet too small for an address to probe from
	}
	targets := c.probedPeers(source)
	c.state.Probes = []Probe{c.probe(*n.Transmit, ProbeCurrent, CurrentProbePort, targets)}
	if len(n.Revisions) < 2 && n.Transmit.Backend.DirectRouting != v1alpha1.DirectRoutingVerified {
		return
	}
	slots := assignSlots(n.Revisions)
	var more []Probe
	for _, r := range n.Revisions {
		kinds := []ProbeKind{ProbeRoutes}
		if r.Backend.DirectRouting == v1alpha1.DirectRoutingVerified {
			kinds = append(kinds, ProbeDirect)
		}
		for i, kind := range kinds {
			slot := slots[r.ID]*kindsPerSlot + i
			p := c.probe(r, kind, uint16(firstProbePort+slot), targets)
			p.Table = firstProbeTable + slot
			c.probeTable(r, p, targets)
			c.state.Rules[Rule{Source: source, Port: p.Port, Table: p.Table}] = struct{}{}
			more = append(more, p)
		}
	}
	slices.SortFunc(more, func(a, b Probe) int {
		return cmp.Or(strings.Compare(a.Revision, b.Revision), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	c.state.Probes = append(c.state.Probes, more...)
}

// assignSlots gives each revision a number that depends on the others as little as possible, so that the paths of one do not
// move when another comes or goes.
func assignSlots(revisions []network.Revision) map[string]int {
	ids := make([]string, 0, len(revisions))
	for _, r := range revisions {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	out, taken := map[string]int{}, map[int]bool{}
	limit := max(probeSlots, len(ids))
	for _, id := range ids {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id)) // never fails
		slot := int(h.Sum32() % uint32(limit))
		for taken[slot] {
			slot = (slot + 1) % limit
		}
		out[id], taken[slot] = slot, true
	}
	return out
}

// probedPeers are the first subnet of each peer, sorted by subnet.
func (c *computer) probedPeers(source netip.Addr) []network.Lease {
	var out []network.Lease
	seen := map[string]bool{}
	for _, p := range c.peers {
		if _, ok := handoff.ReservedAddress(p.Subnet); !ok || seen[p.Node] || p.Subnet.Addr().Is4() != source.Is4() {
			continue
		}
		seen[p.Node] = true
		out = append(out, p)
	}
	return out
}

// probe is one path without its table.
func (c *computer) probe(r network.Revision, kind ProbeKind, port uint16, peers []network.Lease) Probe {
	out := Probe{Revision: r.ID, Kind: kind, Port: port, MTU: revisionMTU(r, c.in.Facts.Underlay)}
	if r.Backend.Encapsulates() && kind != ProbeDirect {
		out.TunnelPort = r.Backend.Port
	}
	if kind == ProbeCurrent { // a peer answers with whatever it sends with, which need not be the same
		for _, other := range c.in.Node.Revisions {
			out.MTU = min(out.MTU, revisionMTU(other, c.in.Facts.Underlay))
		}
	}
	if kind == ProbeDirect { // nodes themselves send as much as the route says
		out.MTU = cmp.Or(c.sendMTU(r, 0), c.in.Facts.Underlay.MTU)
	}
	for _, p := range peers {
		w := c.wayTo(r, kind, p)
		if kind == ProbeDirect && !w.direct {
			continue // not on this segment: it stays encapsulated
		}
		out.Targets = append(out.Targets, ProbeTarget{Node: p.Node, Subnet: p.Subnet, Underlay: w.remote, Direct: w.direct, NoPath: w.noPath})
	}
	return out
}

// probeTable fills the routing table of a path: to the reserved address of each target exactly as the revision's own route, and
// nowhere else, so that no probe can succeed by the routes in force.
func (c *computer) probeTable(r network.Revision, p Probe, peers []network.Lease) {
	table := make(map[netip.Prefix]Route, len(peers)+len(c.in.Node.PodNetworks))
	for _, network := range c.in.Node.PodNetworks {
		table[network] = Route{Unreachable: true}
	}
	for _, peer := range peers {
		w := c.wayTo(r, p.Kind, peer)
		if w.noPath == "" && (p.Kind != ProbeDirect || w.direct) {
			table[probedPrefix(peer.Subnet)] = w.route
		}
	}
	c.state.Tables[p.Table] = table
}

// probedPrefix holds the first two usable addresses of a subnet: the bridge's and the reserved one. What answers at the former
// only drops pods' packets.
func probedPrefix(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Addr(), subnet.Addr().BitLen()-2)
}
