// Package loss measures what a command costs the pod network: it sends numbered packets both ways between two places
// of the lab while the command runs, and says what did not arrive.
//
// It owns the sockets, threads and TCP connections of one measurement and, for a NodePort, one nftables table in the
// node's network namespace. All of them end with Run; the table also ends when the process is killed, because the
// kernel removes it with the socket that owns it.
//
// It refuses to measure what it cannot tell apart from its own failing: nothing arriving in the warm-up is an error
// and not a loss, and a packet that reached the receiver's socket but was not read in time is an error (OverloadError)
// and not a loss. It does not know clusters, pods or kube-proxy: an Endpoint is a namespace and an address.
//
// The invariant: every packet counted in Sent was handed to the kernel (or refused by it) after the warm-up and before
// the command ended, and is counted in exactly one of received, lost or overflowed.
//
// # What is sent
//
// Between two endpoints, one way in each direction: a UDP stream that keeps its 5-tuple (a connected socket, so it
// also notices a stale cached route) and a UDP stream that uses a new socket and source port for every packet, at the
// same rate. Through a NodePort only the client can start, so there the pod answers every packet and the answers are
// the streams of the other direction. With TCP set: one connection that carries a record every millisecond each way,
// and 20 new connections a second.
//
// # What counts
//
// A packet is lost when it has not arrived DrainUDP after the command ended, or when the sender's own kernel refused
// it (no route, an nftables drop: counted in Refused too). A source port is not used again for 40 s (a conntrack entry
// without an answer lives for 30), so that every packet of the new-port stream meets the NAT and routing decisions of
// a first packet.
//
// With SizeMax every packet fills the sender's route MTU with DF set, as a TCP sender would: a packet refused with
// EMSGSIZE is resent at once at the route's new MTU and is not lost (counted in Resized), the size follows the route
// MTU up within 50 ms, and it never shrinks before the kernel says so. A packet the sender's kernel accepts and a
// smaller hop drops is lost, also when the hop says so by ICMP.
//
// The machine can lose packets too: where a lab shares it with others, its input queues overflow. MachineDropped counts
// that for the whole machine, JitterMs how late the probe itself was; a loss or a gap beyond them is the network's.
//
// WrongSource counts packets (and TCP connections) that arrived from another address than the sender's stable one.
// They are not lost. TCP records are not in the totals' Sent and Lost, which count UDP packets: what TCP loses shows as
// a broken connection.
package loss
