// Package udp is the data path of the udp backend: it carries IP packets between TUN devices and UDP sockets, for underlays and
// kernels that allow nothing else. A datagram is one IP packet and nothing more, as in flannel's backend of that name.
//
// It owns the queues it attaches to a device, one per core, and the sockets of the tunnel's port. The device is persistent and the
// dataplane's: without a process its carrier is down and packets are dropped, addresses and routes stay, so that a restart costs
// a gap. A deleted device is attached again by the next Set.
//
// Packets travel in batches. What the device hands out as one large packet leaves as one message that the kernel or the network
// card cuts, without its payload being copied; what arrives is merged again before it is written. The package does this itself:
// wireguard-go's conn opens its port once, on every address of the node, and allocates for every packet, and its tun copies each
// one; `make -s bench BENCH=udp` has both side by side. The outer source is the address the lease publishes, because the sockets
// are bound to it. The first core's packets leave by the tunnel's port, those of the others by ports of their own, so that the
// network and the other side see several flows; only the destination port is fixed. Outer packets carry no DF: on an underlay
// narrower than the tunnel was told they arrive in fragments. TTL, ECN and all else of a packet are as the pod sent them.
//
// It refuses datagrams from any address that no lease publishes, packets with a source that their peer has no right to, and what
// is not one whole packet; it counts them, answers nothing, and sends nothing that nobody has sent.
//
// # Whose source is whose
//
// A peer speaks for its subnets and for the addresses it publishes, which a process on it may have bound to. Nobody else speaks
// for these, and nobody at all for the rest of the pod networks, this node's own subnets and addresses, and what no router
// forwards: loopback, link-local, multicast, unspecified, reserved. That is more than VXLAN asks: it takes what a peer sends.
//
// All other addresses are outsiders': an API server that is no node, a router of the site that has the pod networks' route. They
// reach pods through any node that forwards for them, and pods answer them by their own node's routes. So no source of theirs
// says which peer it comes by, and each peer may bring it; whoever holds a peer can forge them, as with VXLAN, but never a node
// or a pod. They are let in only towards this node's pods, else a peer could use the node as a relay that hides where packets
// come from. The sender looks at destinations alone: nothing is routed to the device but peers' subnets.
//
// Invariant: the table of peers is immutable and replaced whole, and read without locks; nothing is allocated per packet; the
// packets of a flow stay in order.
package udp
