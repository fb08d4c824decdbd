package dataplane

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Marks by which hopsack knows its own. docs/ownership.md lists them.
const (
	// RouteProtocol is the protocol number of hopsack's routes, in whatever table, and of its ip rules.
	RouteProtocol = 104
	// RulePriority is the preference of hopsack's ip rules: after the kernel's own for local addresses (0), before table main.
	RulePriority = 104
	// Alias is the ifalias of hopsack's devices. Pods' ports have another, handoff.PortMark.
	Alias = "hopsack"
)

// Kernel is what the dataplane needs of the kernel's network configuration. Reads return everything the kernel has, not
// only what is hopsack's, and fail rather than return part of it. Setting what is there and deleting what is absent succeed,
// unless said otherwise.
type Kernel interface {
	// Links reads all devices.
	Links() ([]Link, error)
	// Addrs reads the addresses of all devices.
	Addrs() ([]Addr, error)
	// FDB reads the forwarding entries of one vxlan device.
	FDB(index int) ([]Neigh, error)
	// Neighs reads the ARP and NDP entries of one device.
	Neighs(index int) ([]Neigh, error)
	// Routes reads table main: the routes of hopsack's protocol, and every other one whose prefix is in contested.
	Routes(contested func(netip.Prefix) bool) ([]Route, error)

	// CreateLink makes a device that is down. Errors: EEXIST when the name, or the VNI and port, are taken.
	CreateLink(name string, l desired.Link) error
	// ChangeLink sets one attribute to what want has.
	ChangeLink(index int, what LinkAttr, want desired.Link) error
	// DeleteLink deletes a device and all that is on it.
	DeleteLink(index int) error
	// SetPort puts a device onto a bridge, whichever it was on before, and sets its port there. Errors: ENODEV when the
	// device has gone.
	SetPort(index, bridge int, p handoff.Port) error

	// AddAddr adds an address.
	AddAddr(Addr) error
	// DeleteAddr deletes an address.
	DeleteAddr(Addr) error

	// SetNeigh adds a permanent FDB or ARP entry, or replaces the one with the same key.
	SetNeigh(Neigh) error
	// DeleteNeigh deletes an FDB or ARP entry.
	DeleteNeigh(Neigh) error

	// TableRoutes reads one routing table other than main; 0 reads the routes of hopsack's protocol in all of them.
	TableRoutes(table int) ([]Route, error)
	// Rules reads the ip rules of hopsack's protocol.
	Rules() ([]Rule, error)
	// TableOf says which table a packet to an address would use that came in by a device and that a rule is for. It fails where
	// there is no way.
	TableOf(r desired.Rule, from int, to netip.Addr) (int, error)

	// SetRoute adds a route of hopsack's protocol. With replace it takes the place of the first route of the same prefix,
	// metric and table, whoever's that is; without, such a route makes it fail with EEXIST.
	SetRoute(r Route, replace bool) error
	// DeleteRoute deletes a route of hopsack's protocol.
	DeleteRoute(Route) error
	// AddRule adds an ip rule of hopsack's protocol and priority.
	AddRule(desired.Rule) error
	// DeleteRule deletes an ip rule of hopsack's protocol.
	DeleteRule(Rule) error

	// SetPodMTU sets the mtu of the default routes by a pod's interface, in the pod's own namespace, where it is another;
	// without raise only where that is larger. 0 stands for the device's MTU, the largest there is. It returns how many it
	// set. A namespace or interface that has gone is no error.
	SetPodMTU(p handoff.Pod, mtu int, raise bool) (changed int, err error)

	// SetRPFilter sets a device's rp_filter for IPv4.
	SetRPFilter(index int, value int) error
}

// Link is a device as the kernel has it.
type Link struct {
	Index int
	Name  string
	Alias string
	Kind  desired.LinkKind
	MAC   network.MAC
	// MTU in bytes.
	MTU int
	Up  bool
	// Master is the index of the bridge or other device that took the device, 0 for none.
	Master int
	// BridgePort is how the device is set as a port while its Master is a bridge.
	BridgePort handoff.Port
	// Port is set for vxlan, and for a TUN device that has the name of one of hopsack's.
	Port uint16
	// Queues says that a TUN device is as hopsack makes them: persistent, several queues, vnet headers, nothing before packets.
	Queues bool
	// What follows is set for vxlan only.
	VNI      uint32
	Local    netip.Addr
	Learning bool
	// Lower is the index of the device that packets are bound to, 0 for none.
	Lower int
}

// LinkAttr is an attribute of a device that can change while the device carries traffic.
type LinkAttr string

// Attributes.
const (
	AttrAlias    LinkAttr = "alias"
	AttrMAC      LinkAttr = "mac"
	AttrMTU      LinkAttr = "mtu"
	AttrLocal    LinkAttr = "local"
	AttrLearning LinkAttr = "nolearning"
	AttrMaster   LinkAttr = "nomaster"
	AttrUp       LinkAttr = "up"
)

// Addr is an address on a device.
type Addr struct {
	Index  int
	Prefix netip.Prefix
	Scope  desired.Scope
	// Label is the kernel's label of an IPv4 address: the device's name unless somebody chose another.
	Label string
}

// Neigh is an entry of the FDB or of the ARP or NDP table.
type Neigh struct {
	Index int
	// FDB says which table: with it IP is the underlay address of the VTEP MAC, without it MAC is the VTEP that has IP.
	FDB bool
	MAC network.MAC
	IP  netip.Addr
	// Odd is set by reads: the entry is not permanent, or has a port, VNI or device of its own.
	Odd bool
}

// Route is a route.
type Route struct {
	// Table is the number of the routing table, 0 for main.
	Table  int
	Prefix netip.Prefix
	// Metric 0 is the default one of the prefix's family.
	Metric      uint32
	TOS         uint8
	Protocol    uint8
	Unreachable bool
	// Index is that of the output device.
	Index   int
	Gateway netip.Addr
	OnLink  bool
	Source  netip.Addr
	// MTU in bytes, 0 for the device's.
	MTU uint32
	// Odd is set by reads: the route has something that hopsack never asks for (several next hops, other metrics, …).
	Odd bool
}

// Rule is an ip rule of hopsack's protocol.
type Rule struct {
	desired.Rule
	Priority uint32
	// IPv6 is the rule's family, which one without a source does not show.
	IPv6 bool
	// Odd is set by reads: the rule asks for something that hopsack's never do.
	Odd bool
}

// IsOwnLink says whether a device is hopsack's: it carries the mark, or it is a tunnel with the name that follows from its
// kind, VNI and port (one that hopsack did not live to mark).
func IsOwnLink(l netlink.Link) bool { return linkFrom(l).own() }

func (l Link) own() bool {
	switch {
	case l.Alias == Alias:
		return true
	case l.Kind == desired.KindVXLAN:
		return l.Name == desired.TunnelName(l.VNI, l.Port)
	}
	return l.Kind == desired.KindTUN && l.Port != 0
}

// ownTunnel says that a device is one of hopsack's that carry packets between nodes.
func (l Link) ownTunnel() bool {
	return l.own() && (l.Kind == desired.KindVXLAN || l.Kind == desired.KindTUN)
}

// tunPort is the port in the name of a TUN device of hopsack's, 0 in another.
func tunPort(name string) uint16 {
	port, err := strconv.ParseUint(strings.TrimPrefix(name, "hsu"), 10, 16)
	if err != nil || desired.UDPTunnelName(uint16(port)) != name {
		return 0
	}
	return uint16(port)
}
