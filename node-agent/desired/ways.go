package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// way is how a revision's packets go to a peer.
type way struct {
	route Route
	// remote is the address the peer publishes, invalid where it has none of this node's family.
	remote netip.Addr
	// direct says that packets go out as they are.
	direct bool
	// noPath says why there is no way, "" where there is one.
	noPath string
}

// wayTo is how a revision reaches a peer. ProbeCurrent is how the revision sends, the direct paths proven so far included.
func (c *computer) wayTo(r network.Revision, kind ProbeKind, p network.Lease) way {
	underlay := c.in.Facts.Underlay
	source := network.Gateway(c.in.Node.StableSubnet())
	w := way{}
	for _, own := range underlay.Addrs {
		if a := p.PublicIP(own); a.IsValid() {
			w.remote = a
			break
		}
	}
	if !w.remote.IsValid() {
		w.noPath = "it publishes no address of this node's family"
		return w
	}
	if c.portTaken(r) {
		w.noPath = fmt.Sprintf("UDP port %d is still in use by backend %s", r.Backend.Port, c.ports[r.Backend.Port])
		return w
	}
	switch b := r.Backend; {
	case b.Type == v1alpha1.BackendAlloc:
		w.direct = true
		w.route, w.noPath = c.othersRoute(p)
	case c.goesDirect(r, kind, p, w.remote):
		w.direct = true
		w.route = Route{Device: underlay.Name, Gateway: w.remote, Source: source, MTU: c.sendMTU(r, 0)}
	case b.Type == v1alpha1.BackendHostGW:
		w.direct = true
		w.noPath = "behind a router"
	case b.Type == v1alpha1.BackendUDP:
		if w.remote.Is4() != underlay.Addrs[0].Is4() {
			w.noPath = "it publishes no address of the tunnel's family"
			return w
		}
		w.route = Route{Device: UDPTunnelName(b.Port), Source: source, MTU: c.sendMTU(r, b.Overhead(w.remote))}
	default:
		name := TunnelName(b.VNI, b.Port)
		if c.state.FDB[FDBKey{name, p.VTEP}] != w.remote {
			w.noPath = "it has no usable VTEP address"
			return w
		}
		w.route = Route{Device: name, Gateway: p.Subnet.Addr(), OnLink: true, Source: source, MTU: c.sendMTU(r, b.Overhead(w.remote))}
	}
	return w
}

// goesDirect says whether a revision sends to a peer without encapsulation. Being on the same segment is not enough with
// directRouting Verified: a segment may answer for nodes and drop pods' addresses.
func (c *computer) goesDirect(r network.Revision, kind ProbeKind, p network.Lease, remote netip.Addr) bool {
	if !r.Backend.RoutesDirectly() || remote.Is4() != p.Subnet.Addr().Is4() || !c.in.Facts.onLink(remote) {
		return false
	}
	if r.Backend.DirectRouting != v1alpha1.DirectRoutingVerified {
		return true
	}
	return kind == ProbeDirect || kind == ProbeCurrent && c.in.Direct[r.ID][p.Node]
}

// sendMTU is what may be sent along a path with the given overhead, or 0 where that is the underlay's own MTU.
func (c *computer) sendMTU(r network.Revision, overhead int) int {
	limit := c.in.Facts.Underlay.MTU - overhead
	if r.MTU > 0 && r.MTU < limit {
		limit = r.MTU
	}
	if limit == c.in.Facts.Underlay.MTU {
		return 0
	}
	return limit
}

// othersRoute copies the route by which the host's own table reaches a peer's pods.
func (c *computer) othersRoute(p network.Lease) (Route, string) {
	if c.others == nil {
		c.others = bestOthers(c.in.Facts.Others)
	}
	addr := network.Gateway(p.Subnet).Next()
	for bits := addr.BitLen(); bits >= 0; bits-- {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			break // not reached: no prefix is longer than its address
		}
		if r, ok := c.others[prefix]; ok {
			return Route{Device: r.Device, Gateway: r.Gateway, OnLink: r.Gateway.IsValid()}, ""
		}
	}
	return Route{}, "no route of this host leads there"
}

// bestOthers keeps the route of the lowest metric per prefix. Two of the same are told apart by their way, so that the order
// in which the kernel shows them does not matter.
func bestOthers(routes []OtherRoute) map[netip.Prefix]OtherRoute {
	best := make(map[netip.Prefix]OtherRoute, len(routes))
	for _, r := range routes {
		if have, ok := best[r.Prefix]; !ok || compareOthers(r, have) < 0 {
			best[r.Prefix] = r
		}
	}
	return best
}

func compareOthers(a, b OtherRoute) int {
	return cmp.Or(cmp.Compare(a.Metric, b.Metric), strings.Compare(a.Device, b.Device), a.Gateway.Compare(b.Gateway))
}

// claimPorts says whose each UDP port is. The kernel gives a port to one tunnel only, and that of the revision in use has it.
func (c *computer) claimPorts() {
	c.ports = map[uint16]v1alpha1.BackendType{}
	for _, r := range append([]network.Revision{*c.in.Node.Transmit}, c.in.Node.Revisions...) {
		if _, taken := c.ports[r.Backend.Port]; !taken && r.Backend.Encapsulates() {
			c.ports[r.Backend.Port] = r.Backend.Type
		}
	}
}

// portTaken says that a tunnel of another kind has the revision's port: the revision cannot be received, nor proven.
func (c *computer) portTaken(r network.Revision) bool {
	return r.Backend.Encapsulates() && c.ports[r.Backend.Port] != r.Backend.Type
}

// UDPTunnelName is the name of the TUN device of the udp backend on a port.
func UDPTunnelName(port uint16) string { return "hsu" + strconv.Itoa(int(port)) }

// udpTunnel adds what is needed to receive a udp revision: the TUN device, and for the process that serves it, who sends from
// where. Revisions that differ only in MTU share both.
func (c *computer) udpTunnel(r network.Revision) {
	local := c.in.Facts.Underlay.Addrs[0]
	name := UDPTunnelName(r.Backend.Port)
	if _, shared := c.state.Links[name]; shared {
		return
	}
	mtu := c.in.Facts.Underlay.MTU - r.Backend.Overhead(local)
	c.state.Links[name] = Link{Kind: KindTUN, MTU: mtu, Port: r.Backend.Port}
	c.tunnelAddr(name)
	n := c.in.Node
	t := UDPTunnel{
		Device: name, Port: r.Backend.Port, Local: local, MTU: mtu, Subnets: localSubnets(n), Networks: sortedPrefixes(n.PodNetworks),
		Hosts: slices.Concat(c.in.Facts.Underlay.Addrs, n.InternalIPs, n.PublicIPs),
	}
	for _, p := range c.peers {
		remote := p.PublicIP(local)
		if !remote.IsValid() {
			t.Hosts = append(t.Hosts, p.PublicIPs...)
			continue
		}
		to := UDPPeer{Subnet: p.Subnet, Remote: remote}
		for _, a := range p.PublicIPs {
			if a.Is4() != remote.Is4() {
				to.Other = a
			}
		}
		t.Peers = append(t.Peers, to)
	}
	slices.SortFunc(t.Hosts, netip.Addr.Compare)
	t.Hosts = slices.Compact(t.Hosts)
	c.state.UDPTunnels = append(c.state.UDPTunnels, t)
	slices.SortFunc(c.state.UDPTunnels, func(a, b UDPTunnel) int { return strings.Compare(a.Device, b.Device) })
}
