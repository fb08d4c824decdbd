package desired

import "net/netip"

// ProbeKind tells the paths of one revision apart.
type ProbeKind string

// Kinds of probes.
const (
	// ProbeCurrent: the routes in force (table main).
	ProbeCurrent ProbeKind = "current"
	// ProbeRoutes: exactly the routes that the revision would send with; with directRouting Verified, the encapsulated ones.
	ProbeRoutes ProbeKind = "routes"
	// ProbeDirect: with directRouting Verified, the direct routes to the peers on the same segment.
	ProbeDirect ProbeKind = "direct"
)

// Probe is a path that can be proven without anything using it: a routing table of its own, chosen by an ip rule for packets
// that come from the node's reserved address and from Port.
type Probe struct {
	// Revision and Kind name the path, the same way on every node. Revision is that of Transmit for ProbeCurrent.
	Revision string
	Kind     ProbeKind
	// Table is the routing table, 0 for main.
	Table int
	// Port is the UDP source port of probes over this path.
	Port uint16
	// MTU is the largest packet, in bytes, that the path must carry; for ProbeCurrent the smallest of all revisions, because peers
	// answer with any of them.
	MTU int
	// TunnelPort is the UDP port of the tunnel, 0 where packets go out as they are.
	TunnelPort uint16
	// Targets are the peers, sorted by subnet: one per node.
	Targets []ProbeTarget
}

// ProbeTarget is a peer to be probed.
type ProbeTarget struct {
	Node string
	// Subnet is the peer's first; the probe goes to the reserved address in it.
	Subnet netip.Prefix
	// Underlay is the address the peer publishes.
	Underlay netip.Addr
	// Direct says that packets go out as they are; else they are encapsulated.
	Direct bool
	// NoPath says why the revision has no way to the peer, "" where it has one.
	NoPath string
}

// Rule is an ip rule: packets from Source with the UDP source port Port use Table.
type Rule struct {
	Source netip.Addr
	Port   uint16
	Table  int
}

// UDPTunnel is a tunnel of the udp backend: the process that carries packets between a TUN device and a UDP port.
type UDPTunnel struct {
	// Device is the TUN device, made by the dataplane.
	Device string
	Port   uint16
	// Local is the underlay address to send from.
	Local netip.Addr
	// MTU of the device, in bytes.
	MTU int
	// Peers say where packets go, sorted by subnet.
	Peers []UDPPeer
	// Subnets are this node's own: those outside the cluster whose packets a peer forwards may send to no others.
	Subnets []netip.Prefix
	// Networks hold all pods, on whatever node. An address in one of them that is in no peer's subnet is no source.
	Networks []netip.Prefix
	// Hosts are no sources either: this node's addresses, and those of nodes that the tunnel does not reach.
	Hosts []netip.Addr
}

// UDPPeer is a subnet and the underlay address of its node. The subnet's addresses, Remote and Other are sources of what arrives
// from Remote alone.
type UDPPeer struct {
	Subnet netip.Prefix
	Remote netip.Addr
	// Other is the address of the other family that the node publishes, invalid where there is none.
	Other netip.Addr
}
