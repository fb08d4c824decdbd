package desired

import (
	"net/netip"

	"github.com/hopsack-net/hopsack/internal/network"
)

// State is all that hopsack wants on a node, keyed as the kernel keys it. Its zero value is a node without hopsack: what
// teardown and cleanup ask for.
type State struct {
	// Links are the devices hopsack makes, by name.
	Links map[string]Link
	// Addrs are the addresses on those devices.
	Addrs map[AddrKey]Scope
	// FDB says which underlay address has a VTEP, per device. Entries are permanent.
	FDB map[FDBKey]netip.Addr
	// Neighs says which VTEP has a peer's tunnel address, per device. Entries are permanent.
	Neighs map[NeighKey]network.MAC
	// Routes are routes of the main table, metric 0.
	Routes map[netip.Prefix]Route
	// Tables are the routing tables of probes, by number; Rules are the ip rules that lead there.
	Tables map[int]map[netip.Prefix]Route
	Rules  map[Rule]struct{}
	// Probes are the paths that can be proven, sorted by revision and kind. The first is the current one.
	Probes []Probe
	// UDPTunnels are the tunnels of the udp backend that the agent's own process serves, sorted by device.
	UDPTunnels []UDPTunnel
	// PodMTU is the mtu, in bytes, on the default route of every pod that runs; 0 means its device's.
	PodMTU int
	// Loose are the devices on which strict reverse path filtering would drop packets of asymmetric paths: where the
	// effective rp_filter is 1 it must become 2. A device with 0 or 2 is left alone.
	Loose map[string]struct{}
	// Sysctls are the host's settings by path below /proc/sys, for example "net/ipv4/ip_forward".
	Sysctls map[string]string
	// Firewall is the content of the nftables table and of the FORWARD accept rules; nil means none.
	Firewall *Firewall
	// Files are written in this order and removed in reverse. The hand-off to the CNI plugin comes last.
	Files []File
}

// LinkKind is the kind of a device as the kernel names it.
type LinkKind string

// Kinds of devices.
const (
	KindBridge LinkKind = "bridge"
	KindVXLAN  LinkKind = "vxlan"
	KindTUN    LinkKind = "tun"
)

// Link is a device that is up.
type Link struct {
	Kind LinkKind
	MAC  network.MAC
	// MTU in bytes.
	MTU int
	// VNI and Local are set for vxlan only, Port for vxlan and tun, which has no MAC. Local is the source address of
	// encapsulated packets. A vxlan device has no lower device: one that has goes when its lower device goes.
	VNI   uint32
	Port  uint16
	Local netip.Addr
}

// IsTunnel says that the device carries packets between nodes.
func (l Link) IsTunnel() bool { return l.Kind == KindVXLAN || l.Kind == KindTUN }

// Scope is the scope of an address.
type Scope string

// Scopes of addresses.
const (
	ScopeGlobal Scope = "global"
	ScopeLink   Scope = "link"
)

// AddrKey is an address with its prefix length on a device.
type AddrKey struct {
	Device string
	Prefix netip.Prefix
}

// FDBKey is a VTEP's Ethernet address on a vxlan device.
type FDBKey struct {
	Device string
	MAC    network.MAC
}

// NeighKey is an address on a device.
type NeighKey struct {
	Device string
	IP     netip.Addr
}

// Route is one route. The zero Device with Unreachable set is a route that answers "unreachable".
type Route struct {
	// Unreachable has the kernel refuse packets instead of sending them out by a less specific route.
	Unreachable bool
	Device      string
	Gateway     netip.Addr
	// OnLink accepts Gateway although no address of Device covers it.
	OnLink bool
	// Source is the node's stable address; see design: no address a connection uses lives on a device of a revision.
	Source netip.Addr
	// MTU in bytes that may be sent this way; 0 means the device's.
	MTU int
}

// Firewall is what the packet filter needs to know. Lists are sorted.
type Firewall struct {
	// Bridge is the pods' bridge.
	Bridge string
	// PodNetworks are all ranges that hold pod addresses.
	PodNetworks []netip.Prefix
	// LocalSubnets are the node's own subnets: the sources that are masqueraded.
	LocalSubnets []netip.Prefix
	// Masquerade, Except and RandomFully are the user's choice.
	Masquerade  bool
	Except      []netip.Prefix
	RandomFully bool
	// NodePortMark is kube-proxy's mark; packets that carry it towards pods get NodeAddrs as their source.
	NodePortMark uint32
	// NodeAddrs are the node's stable addresses, at most one per family.
	NodeAddrs []netip.Addr
	// TunnelPorts are the UDP ports of the tunnels; nothing is closed when empty.
	TunnelPorts []uint16
	// Peers are the underlay addresses that may send encapsulated packets, whether there are tunnels or not.
	Peers []netip.Addr
}

// File is a file hopsack writes.
type File struct {
	Path    string
	Content string
}
