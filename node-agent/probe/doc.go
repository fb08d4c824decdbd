// Package probe proves paths between nodes with real packets.
//
// A Prober keeps a small anonymous network namespace plugged into the pods' bridge, with the reserved address of the node's
// subnet, so that forward hooks, NAT, connection tracking, reverse path filtering and MTU are on the path as they are for a
// pod's packets. The namespace is held by file descriptors: it goes with the process. Each path has a UDP source port by which
// ip rules choose its routing table (package desired). A probe carries an unguessable nonce and the name of its path; the
// peer's Prober answers over its own path of that name, from that path's own source port, to the port for probes: a flow of its
// own, not a reply. Both sides make the node's connection tracking forget the flow before they send, so every question proves
// both directions for new flows, whatever was decided about earlier ones. A peer without the path says so over the current one.
//
// The package decides nothing about rollouts: whom to ask, when, and what follows from the answer is the agent's. It makes no
// rules, routes or tunnels, and answers nobody but reserved addresses and gateways of the subnets it was told of.
//
// Invariant: it never answers with more bytes than it received, nor faster than a bound, takes an answer only with the nonce,
// path and size of a request that is waiting and from the address that was asked, and leaves nothing behind when its process
// dies.
//
// It needs CAP_SYS_ADMIN (a network namespace is made and entered), CAP_NET_ADMIN (devices) and CAP_NET_RAW (pings). Without
// pings or stand-ins diagnoses are coarser; that is logged.
//
// # What an answer proves
//
// Answer.OK: one packet of the small size and one of the path's MTU, with DF set, went there and came back over the path,
// through the FORWARD rules of both nodes, within the last second. It does not prove that every packet passes, that other
// protocols or ports do, that flows which exist already go on, nor anything about pods' own devices and policies.
//
// Answer.Unprepared: the peer lives, and the current path from it works. The request came over the path, so one direction works.
//
// # What a finding proves
//
// Findings come from more packets, each tried three times. Two tools take a path apart: the current path serves as the way back
// (or there), so that one direction is tried alone; and an end may be the node itself in place of its prober (the gateway
// address, or a stand-in socket with the reserved address), which leaves out that node's FORWARD rules.
//
//   - PeerDead ("peer dead on the current path too"): neither prober nor host of the peer answers over the current path, and
//     nothing is known about the path asked for, which is another one. It does not prove that the node is down: its agent may be,
//     or INPUT rules of either node may drop UDP port 10476 and FORWARD rules the rest. Of the current path itself it is never
//     said, as that may well be what is broken: then it is NoAnswer.
//   - ForwardPolicy ("peer's FORWARD policy drops pods", "this node's ...", "the FORWARD policies of peer and this node ..."):
//     the path carries packets as far as the host, and they are lost on the way on to the prober. It is the FORWARD hook, or
//     whatever else stands between host and bridge: a prober that somebody took off the bridge looks the same until its agent
//     has plugged it in again. What is dropped may depend on the device. A peer's filter that drops only what its pods send
//     out, and lets in what they get, is not told from a blocked path.
//   - PodAddressesDropped ("answers for the node but drops pod addresses"): nothing shows that a filter of the nodes is to
//     blame, the path has no encapsulation, and the peer's published address answers pings. Filters of the peer that drop both
//     UDP port 10476 in INPUT and pods in FORWARD look the same. Where pings are dropped it is NoAnswer.
//   - NoAnswer ("no answer over UDP 8472 from 172.30.0.12", "no answer from ..."): the current path works, this one does not,
//     in at least one direction, or it is the current path that is asked about; the port is that of the path's tunnel. Who drops
//     the packets is not known: INPUT rules of either node, or anything in between. "peer has not prepared the path yet" and
//     "this node has not prepared the path yet" are NoAnswer, too, and pass.
//   - PathMTU ("path MTU 1400 < 1450"): small packets pass, those of the path's MTU do not; the first figure is the largest IP
//     packet, in bytes, that came back just now. It is the smaller one of the two directions.
//
// NoPath is never found here: a path that cannot exist is not asked for.
package probe
