package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// Compute returns what the node should be. The node must have a subnet, a revision to send with and an underlay; without
// them there is nothing to compute and the State is the zero one, with a Problem that says what is missing.
func Compute(in Input) (State, []Problem) {
	if p, missing := missing(in); missing {
		return State{}, []Problem{p}
	}
	c := &computer{in: in, state: State{
		Links:   map[string]Link{},
		Addrs:   map[AddrKey]Scope{},
		FDB:     map[FDBKey]netip.Addr{},
		Neighs:  map[NeighKey]network.MAC{},
		Routes:  map[netip.Prefix]Route{},
		Tables:  map[int]map[netip.Prefix]Route{},
		Rules:   map[Rule]struct{}{},
		Loose:   map[string]struct{}{},
		Sysctls: hostSysctls(in.Node),
	}}
	c.peers = usablePeers(in)
	c.bridge()
	c.claimPorts()
	for _, r := range in.Node.Revisions {
		if c.portTaken(r) {
			continue // wayTo says so
		}
		switch r.Backend.Type {
		case v1alpha1.BackendVXLAN:
			c.vxlanDevice(r)
		case v1alpha1.BackendUDP:
			c.udpTunnel(r)
		}
	}
	c.looseFiltering()
	c.routes()
	c.probes()
	c.state.PodMTU = routeMTU(in.Node, in.Facts.Underlay)
	c.state.Firewall = c.firewall()
	c.files()
	return c.state, c.problems
}

// missing says what Compute cannot do without.
func missing(in Input) (Problem, bool) {
	stable := in.Node.StableSubnet()
	switch {
	case !stable.IsValid():
		return Problem{v1alpha1.ReasonWaitingForSubnet, "the node has no bound subnet yet"}, true
	case in.Node.Transmit == nil:
		return Problem{v1alpha1.ReasonWaitingForSubnet, "the node was given no revision to send with"}, true
	case len(in.Facts.Underlay.Addrs) == 0:
		return Problem{v1alpha1.ReasonNoInterface, "no underlay interface was found"}, true
	}
	return Problem{}, false
}

// computer holds one computation.
type computer struct {
	in       Input
	peers    []network.Lease // sorted by subnet
	state    State
	problems []Problem
	others   map[netip.Prefix]OtherRoute // the best per prefix; nil until asked for
	ports    map[uint16]v1alpha1.BackendType
}

// usablePeers leaves out the node's own leases and what cannot be reached at all, and sorts the rest.
func usablePeers(in Input) []network.Lease {
	var out []network.Lease
	for _, l := range in.Peers {
		if l.Node != in.Node.Name && l.Routable {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b network.Lease) int { return a.Subnet.Compare(b.Subnet) })
	return out
}

// hostSysctls are the host's settings without which no pod packet is forwarded, or none passes kube-proxy's rules on its
// way through the bridge.
func hostSysctls(n network.Node) map[string]string {
	out := map[string]string{}
	for _, p := range n.PodNetworks {
		if p.Addr().Is4() {
			out["net/ipv4/ip_forward"] = "1"
			out["net/bridge/bridge-nf-call-iptables"] = "1"
		} else {
			out["net/ipv6/conf/all/forwarding"] = "1"
			out["net/bridge/bridge-nf-call-ip6tables"] = "1"
		}
	}
	return out
}

// bridge adds the pods' bridge with a gateway address in every subnet. It always has the underlay's MTU: what may be sent
// to other nodes is a matter of routes.
func (c *computer) bridge() {
	name := c.in.Node.CNI.Bridge
	mac := c.in.Node.VTEP
	mac[0] ^= 0x04 // another locally administered address than the VTEP's, just as stable
	c.state.Links[name] = Link{Kind: KindBridge, MAC: mac, MTU: c.in.Facts.Underlay.MTU}
	for _, s := range c.in.Node.Subnets {
		gw := netip.PrefixFrom(network.Gateway(s.Prefix), s.Prefix.Bits())
		c.state.Addrs[AddrKey{name, gw}] = ScopeGlobal
	}
}

// TunnelName is the name of the vxlan device of a VNI and UDP port, at most 15 bytes (IFNAMSIZ less its NUL).
func TunnelName(vni uint32, port uint16) string {
	if name := fmt.Sprintf("hs%d-%d", vni, port); len(name) <= 15 {
		return name
	}
	return fmt.Sprintf("h%d-%d", vni, port)
}

// tunnelAddr gives a tunnel device its address. On a device without any address loose filtering acts like strict. Nothing uses
// this one as a source.
func (c *computer) tunnelAddr(device string) {
	addr := c.in.Node.StableSubnet().Addr()
	c.state.Addrs[AddrKey{device, netip.PrefixFrom(addr, addr.BitLen())}] = ScopeLink
}

// vxlanDevice adds what is needed to receive a vxlan revision: the device, and an FDB and ARP entry per peer. Revisions that
// differ only in how they send share the device.
func (c *computer) vxlanDevice(r network.Revision) {
	local := c.in.Facts.Underlay.Addrs[0]
	name := TunnelName(r.Backend.VNI, r.Backend.Port)
	c.state.Links[name] = Link{
		Kind: KindVXLAN, MAC: c.in.Node.VTEP, MTU: c.in.Facts.Underlay.MTU - r.Backend.Overhead(local),
		VNI: r.Backend.VNI, Port: r.Backend.Port, Local: local,
	}
	c.tunnelAddr(name)
	for _, p := range c.peers {
		remote := p.PublicIP(local)
		if !remote.IsValid() || !p.VTEP.IsUnicast() {
			continue // routes() says so, where it matters
		}
		key := FDBKey{name, p.VTEP}
		if other, taken := c.state.FDB[key]; taken && other != remote {
			c.problem(v1alpha1.ReasonPeerUnreachable, "peers at %s and %s publish the same VTEP address %s: %s is left out",
				other, remote, p.VTEP, p.Node)
			continue
		}
		c.state.FDB[key] = remote
		c.state.Neighs[NeighKey{name, p.Subnet.Addr()}] = p.VTEP
	}
}

// looseFiltering names the devices that asymmetric packets come in by. Paths are asymmetric for a moment whenever nodes
// change one after another, and for good where one side routes directly.
func (c *computer) looseFiltering() {
	asymmetric := len(c.in.Node.Revisions) > 1
	for _, r := range c.in.Node.Revisions {
		asymmetric = asymmetric || r.Backend.RoutesDirectly()
	}
	if !asymmetric {
		return
	}
	c.state.Loose[c.in.Facts.Underlay.Name] = struct{}{}
	for name, l := range c.state.Links {
		if l.IsTunnel() {
			c.state.Loose[name] = struct{}{}
		}
	}
}

// routes adds a route per peer, the way the revision to send with has it, and answers "unreachable" for the rest of the
// pod networks.
func (c *computer) routes() {
	b := c.in.Node.Transmit.Backend
	if b.Type == v1alpha1.BackendAlloc {
		return // somebody else routes
	}
	for _, p := range c.in.Node.PodNetworks {
		c.state.Routes[p] = Route{Unreachable: true}
	}
	var unreachable []string
	for _, p := range c.peers {
		w := c.wayTo(*c.in.Node.Transmit, ProbeCurrent, p)
		if w.noPath != "" {
			unreachable = append(unreachable, fmt.Sprintf("%s (%s)", p.Node, w.noPath))
			continue // the pod network's own route answers for it
		}
		c.state.Routes[p.Subnet] = w.route
	}
	if n := len(unreachable); n > 0 {
		c.problem(v1alpha1.ReasonPeerUnreachable, "%d of %d peers cannot be reached with backend %s: %s",
			n, len(c.peers), b.Type, summary(unreachable))
	}
}

// maxNamed is how many peers a message names.
const maxNamed = 4

func summary(items []string) string {
	if len(items) <= maxNamed {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:maxNamed], ", "), len(items)-maxNamed)
}

// PodMTU is the largest packet, in bytes, that pods may send to other nodes: what is left on the narrowest path.
func PodMTU(n network.Node, u Underlay) int {
	if n.Transmit == nil || len(u.Addrs) == 0 {
		return 0
	}
	return revisionMTU(*n.Transmit, u)
}

// revisionMTU is the largest packet that fits every path of a revision.
func revisionMTU(r network.Revision, u Underlay) int {
	mtu := u.MTU - r.Backend.Overhead(u.Addrs[0])
	if r.MTU > 0 {
		mtu = min(mtu, r.MTU)
	}
	return mtu
}

// routeMTU is the mtu that pods' default routes need, 0 where their devices say the same.
func routeMTU(n network.Node, u Underlay) int {
	if mtu := PodMTU(n, u); mtu < u.MTU {
		return mtu
	}
	return 0
}

// firewall collects what the packet filter needs to know.
func (c *computer) firewall() *Firewall {
	n := c.in.Node
	fw := &Firewall{
		Bridge:       n.CNI.Bridge,
		PodNetworks:  sortedPrefixes(n.PodNetworks),
		LocalSubnets: localSubnets(n),
		Masquerade:   n.Masquerade.Enabled,
		Except:       sortedPrefixes(n.Masquerade.Except),
		RandomFully:  n.Masquerade.RandomFully,
		NodePortMark: n.Masquerade.NodePortMark,
		NodeAddrs:    []netip.Addr{network.Gateway(n.StableSubnet())},
	}
	for _, r := range n.Revisions {
		if r.Backend.Encapsulates() {
			fw.TunnelPorts = append(fw.TunnelPorts, r.Backend.Port)
		}
	}
	slices.Sort(fw.TunnelPorts)
	fw.TunnelPorts = slices.Compact(fw.TunnelPorts)
	// Also without a tunnel: the last one closes a little later than it is last wanted, and until then it stays open to peers.
	for _, p := range c.peers {
		fw.Peers = append(fw.Peers, p.PublicIPs...)
	}
	slices.SortFunc(fw.Peers, netip.Addr.Compare)
	fw.Peers = slices.Compact(fw.Peers)
	return fw
}

// localSubnets are the node's own, sorted.
func localSubnets(n network.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Subnets {
		out = append(out, s.Prefix)
	}
	return sortedPrefixes(out)
}

func sortedPrefixes(in []netip.Prefix) []netip.Prefix {
	out := slices.Clone(in)
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// problem records something that becomes a condition. A reason said twice keeps its first message.
func (c *computer) problem(reason, format string, args ...any) {
	if !slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Reason == reason }) {
		c.problems = append(c.problems, Problem{reason, fmt.Sprintf(format, args...)})
	}
}
