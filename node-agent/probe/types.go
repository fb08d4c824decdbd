package probe

import (
	"net/netip"
	"time"
)

// ListenPort is the UDP port probes are sent to.
const ListenPort = 10476

// Path is a path that can be probed.
type Path struct {
	// Name is the same on every node: the revision and the kind, for example "1b2c3d4e/direct"; at most 64 bytes. "" is the
	// current path: table main.
	Name string
	// Port is the own source port that leads packets over the path.
	Port uint16
	// MTU is the size, in bytes, of the IP packets of the large probe.
	MTU int
	// TunnelPort is the UDP port of the path's tunnel, 0 for none. It is for messages.
	TunnelPort uint16
}

// Target is a peer.
type Target struct {
	Node string
	// Pod is the reserved address in the peer's subnet.
	Pod netip.Addr
	// Gateway is the bridge's address in that subnet.
	Gateway netip.Addr
	// Underlay is the address the peer publishes.
	Underlay netip.Addr
	// Direct says that the path to this peer has no encapsulation.
	Direct bool
}

// Config is what a Prober works with.
type Config struct {
	// Bridge is the pods' bridge.
	Bridge string
	// Address is the node's reserved address with the prefix length of its subnet; Gateway the bridge's address there.
	Address netip.Prefix
	Gateway netip.Addr
	// MTU is that of pods' devices, in bytes.
	MTU int
	// Paths are the paths that exist, the current one with them.
	Paths []Path
	// Peers are the subnets that are answered.
	Peers []netip.Prefix
}

// Answer is what came of asking a peer over a path.
type Answer struct {
	// OK: a small and a large packet went there and back over the path.
	OK bool
	// Small says that at least the small one did.
	Small bool
	// Unprepared says that the peer answers, but does not have the path yet.
	Unprepared bool
	// RTT is the round-trip time of the small one, 0 without.
	RTT time.Duration
	// PathMTU is the largest packet that came back, in bytes, found when only the large one failed; 0 when not looked for.
	PathMTU int
}

// Finding is why a peer is not reached.
type Finding struct {
	// Reason is one of the probe reasons in api/v1alpha1.
	Reason string
	// Message is a sentence for people.
	Message string
}
