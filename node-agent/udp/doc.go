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
// It refuses datagrams from any address that no lease publishes, packets whose source is outside the subnets of the node they
// come from, and what is not one whole packet; it counts them, answers nothing, and sends nothing that no pod has sent.
//
// Invariant: the table of peers is immutable and replaced whole, and read without locks; nothing is allocated per packet; the
// packets of a flow stay in order.
package udp
