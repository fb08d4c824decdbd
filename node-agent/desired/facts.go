package desired

import (
	"net/netip"

	"github.com/hopsack-net/hopsack/internal/network"
)

// Facts are what Compute must know of the node and cannot know from objects.
type Facts struct {
	// Underlay is the chosen interface; its zero value means that none was found.
	Underlay Underlay
	// OnLink are the prefixes that the underlay reaches without a gateway.
	OnLink []netip.Prefix
	// Detours are the prefixes that go through a gateway or through another interface. They matter where they are more
	// specific than an on-link prefix. Routes of hopsack itself are left out.
	Detours []netip.Prefix
	// Others are the routes of table main that are not hopsack's: what carries packets with backend alloc.
	Others []OtherRoute
}

// OtherRoute is a route that somebody else made.
type OtherRoute struct {
	Prefix  netip.Prefix
	Metric  uint32
	Device  string
	Gateway netip.Addr
}

// Underlay is the interface that carries packets between nodes.
type Underlay struct {
	Name string
	// Addrs are its addresses used for hopsack, at most one per family.
	Addrs []netip.Addr
	// MTU in bytes.
	MTU int
}

// Addr is the underlay address of the same family as like, or an invalid one.
func (u Underlay) Addr(like netip.Addr) netip.Addr {
	for _, a := range u.Addrs {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// onLink says whether the longest prefix that covers the peer is reached without a gateway through the underlay.
func (f Facts) onLink(peer netip.Addr) bool {
	return longest(f.OnLink, peer) > longest(f.Detours, peer)
}

// longest is the length of the longest prefix that holds addr, -1 when none does.
func longest(prefixes []netip.Prefix, addr netip.Addr) int {
	best := -1
	for _, p := range prefixes {
		if p.Bits() > best && p.Contains(addr) {
			best = p.Bits()
		}
	}
	return best
}

// Paths are where files go; set once per process.
type Paths struct {
	// Handoff is the hand-off file to the CNI plugin.
	Handoff string
	// Conflist is the CNI configuration file.
	Conflist string
	// SubnetEnv is the file with the FLANNEL_ variables.
	SubnetEnv string
}

// Input is all that Compute looks at.
type Input struct {
	Node network.Node
	// Peers are the leases of other nodes that are routable, in any order.
	Peers []network.Lease
	Facts Facts
	Paths Paths
	// NoNewPods leaves out the hand-off to the CNI plugin: pods that run go on, none can start. It is set until peers can
	// know the node, and when the node learns that its lease is gone.
	NoNewPods bool
	// Direct names, by revision, the nodes to which the direct path is proven (directRouting Verified).
	Direct map[string]map[string]bool
}

// Problem is something Compute had to leave out; it becomes a condition.
type Problem struct {
	// Reason is one of the reasons in api/v1alpha1.
	Reason string
	// Message is a sentence for the user.
	Message string
}
