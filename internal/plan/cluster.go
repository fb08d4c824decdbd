package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// Node is a Node object, as far as it matters here.
type Node struct {
	Name    string
	UID     string
	Created time.Time
	Labels  map[string]string
	// InternalIPs and ExternalIPs are the addresses of those types in its status.
	InternalIPs, ExternalIPs []netip.Addr
	// PublicIPs come from the annotation that replaces the published address.
	PublicIPs []netip.Addr
	PodCIDRs  []netip.Prefix
	// Ready says that the kubelet is heard of: condition Ready is True; ReadyChanged is since when it is as it is, zero when the
	// condition is absent.
	Ready        bool
	ReadyChanged time.Time
	// BootID changes with every boot, "" where nobody says.
	BootID string
}

// PodCIDR is the node's podCIDR of the range's family, if it has one.
func (n Node) PodCIDR(r network.Range) (netip.Prefix, bool) {
	for _, p := range n.PodCIDRs {
		if p.Addr().Is4() == r.Network.Addr().Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Subnet is an entry of NodeNetwork.spec.subnets.
type Subnet struct {
	Prefix netip.Prefix
	State  v1alpha1.SubnetState
}

// InUse says that the node's pods may have addresses of the subnet.
func (s Subnet) InUse() bool { return s.State != v1alpha1.SubnetIntended }

// Report is what an agent says in NodeNetwork.status.
type Report struct {
	// Known says that the agent reported for the Node that exists now, and since its last boot: UID and boot ID are the Node's.
	// Nothing else in here may be read without it.
	Known bool
	// Current says that the report is about the present generation of spec.
	Current   bool
	PublicIPs []netip.Addr
	Prepared  []string
	Transmit  string
	// Failed is the revision that the node tried to send with and left, "" for none; FailedPeers is what it could not reach.
	Failed      string
	FailedPeers []v1alpha1.FailingPeer
	// Verifications are by revision.
	Verifications map[string]v1alpha1.Verification
	// Ready and CleanedUp come from the condition Ready.
	Ready, CleanedUp bool
	// Word is the status of the condition Ready: "True", "False", "Unknown" or "" (none); Reason and Message are its own.
	Word, Reason, Message string
}

// Revision is a revision as a NodeNetwork carries it.
type Revision struct {
	ID      string
	Backend network.Backend
	MTU     int
}

// String names the revision for people: "revision 1b2c3d4e (vxlan VNI 1 port 8472)".
func (r Revision) String() string {
	s := fmt.Sprintf("revision %s (%s", r.ID, r.Backend.Type)
	switch r.Backend.Type {
	case v1alpha1.BackendVXLAN:
		s += fmt.Sprintf(" VNI %d port %d", r.Backend.VNI, r.Backend.Port)
		if d := r.Backend.DirectRouting; d != "" && d != v1alpha1.DirectRoutingNever {
			s += " directRouting " + string(d)
		}
	case v1alpha1.BackendUDP:
		s += fmt.Sprintf(" port %d", r.Backend.Port)
	}
	if r.MTU != 0 {
		s += fmt.Sprintf(" mtu %d", r.MTU)
	}
	return s + ")"
}

// NodeNetwork is a NodeNetwork object, as far as it matters here.
type NodeNetwork struct {
	Name      string
	NodeUID   string
	Subnets   []Subnet
	Networks  []netip.Prefix
	VTEP      network.MAC
	Bridge    string
	Revisions []Revision
	Transmit  string
	Teardown  bool
	// Leader is the identity of the controller that may write the spec.
	Leader string
	Report Report
}

// InUse says that the node has a subnet that its pods may use.
func (n NodeNetwork) InUse() bool { return slices.ContainsFunc(n.Subnets, Subnet.InUse) }

// Has says whether the node must be able to receive the revision.
func (n NodeNetwork) Has(id string) bool {
	return slices.ContainsFunc(n.Revisions, func(r Revision) bool { return r.ID == id })
}

// Endpoint is how peers reach a lease's node.
type Endpoint struct {
	// PublicIPs are at most one per family, IPv4 first.
	PublicIPs []netip.Addr
	Backend   v1alpha1.BackendType
	VTEP      network.MAC
}

// Equal compares two endpoints.
func (e Endpoint) Equal(o Endpoint) bool {
	return e.Backend == o.Backend && e.VTEP == o.VTEP && slices.Equal(e.PublicIPs, o.PublicIPs)
}

// Lease is a SubnetLease object.
type Lease struct {
	Prefix  netip.Prefix
	Node    string
	Created time.Time
	// Held says that the controller has made the lease, or taken it up: it carries the finalizer.
	Held bool
	// Adopted: the subnet is the node's podCIDR. Reserved: a user made the lease.
	Adopted, Reserved bool
	// Deleting says that somebody deleted it and the finalizer holds it.
	Deleting bool
	// ReleasedAt is when its node was seen gone; zero while it is there.
	ReleasedAt time.Time
	// Published says that peers may send to Endpoint.
	Published bool
	Endpoint  Endpoint
}

// Released says that the lease waits for its node to come back.
func (l Lease) Released() bool { return !l.ReleasedAt.IsZero() }

// ServiceCIDR is a ServiceCIDR object.
type ServiceCIDR struct {
	Name     string
	Prefixes []netip.Prefix
}

// Cluster is what a pass has seen.
type Cluster struct {
	// Nodes are those that exist.
	Nodes        map[string]Node
	NodeNetworks map[string]NodeNetwork
	Leases       map[netip.Prefix]Lease
	ServiceCIDRs []ServiceCIDR
}

// SortedNodes are the nodes in the order in which they are served: older first, then by name.
func (c Cluster) SortedNodes() []Node {
	out := make([]Node, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Node) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// SortedLeases are the leases in the order of their addresses, wider ones first.
func (c Cluster) SortedLeases() []Lease {
	out := make([]Lease, 0, len(c.Leases))
	for _, l := range c.Leases {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// Problem is why something is not as asked: a condition's reason and message.
type Problem struct {
	Reason, Message string
}
