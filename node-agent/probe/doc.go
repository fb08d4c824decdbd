// Package probe proves paths between nodes with real packets.
//
// A Prober keeps a small anonymous network namespace plugged into the pods' bridge, with the reserved address of the node's
// subnet, so that forward hooks, NAT, connection tracking, reverse path filtering and MTU are on the path as they are for a
// pod's packets. The namespace is held by file descriptors: it goes with the process. Each path has a UDP source port by which
// ip rules choose its routing table (package desired). A probe carries an unguessable nonce and the name of its path; the
// peer's Prober answers over its own path of that name, from that path's own source port, to the port for probes: a flow of its
// own, not a reply, so that both directions are proven as new flows. A peer without the path says so over the current one.
//
// The package decides nothing about rollouts: whom to ask, when, and what follows from the answer is the agent's. It makes no
// rules, routes or tunnels, and answers nobody but reserved addresses and gateways of the subnets it was told of.
//
// Invariant: it never sends more bytes than it received, answers at a bounded rate, takes an answer only with the nonce, path
// and size of a request that is waiting and from the address that was asked, and leaves nothing behind when its process dies.
//
// # What an answer proves
//
// Answer.OK: one packet of the small and one of the path's MTU, with DF set, went there and came back over the path, through
// the FORWARD rules of both nodes, within the last second. It does not prove that every packet passes, that other protocols or
// ports do, that TCP is let through, nor anything about pods' own devices and policies. Answer.Unprepared proves that the peer
// lives and that the current path from it works; the request may have come over either.
//
// # What a finding proves
//
// Findings come from more packets, each tried three times. Two tools take a path apart: the current path serves as the way back
// (or there), so that one direction is tried alone; and an end may be the node itself in place of its prober (the gateway
// address, or a stand-in socket with the reserved address), which leaves out that node's FORWARD rules.
//
//   - PeerDead ("peer dead on the current path too"): neither prober nor host of the peer answers over the current path, and
//     nothing is known about the path asked for. It does not prove that the node is down: its agent may be, or INPUT rules
//     of either node may drop UDP port 10476.
//   - ForwardPolicy ("peer's FORWARD policy drops pods", "this node's ...", "the FORWARD policies of peer and this node ..."): the
//     path carries packets as far as the host, and they are lost on the way on to the prober. It is the FORWARD hook or whatever else
//     stands between host and bridge (reverse path filtering for forwarded packets included); it may
//     depend on the device. A filter that drops only what pods of the peer send out, and lets in what they get, is not told from a
//     blocked path.
//   - PodAddressesDropped ("answers for the node but drops pod addresses"): nothing comes through either way that the hosts
//     could be blamed for, the path has no encapsulation, and the peer's published address answers pings. A peer that drops UDP
//     port 10476 in INPUT and its pods' packets in FORWARD looks the same. Where pings are dropped it is NoAnswer.
//   - NoAnswer ("no answer over UDP 8472 from 172.30.0.12", "no answer from ..."): the current path works, this one does
//     not, in at least one direction; the port is that of the path's tunnel. Who drops the packets is not known: INPUT rules of either
//     node, or anything in between. "peer has not prepared the path yet" and "this node has not prepared the path yet" are
//     NoAnswer, too, and pass.
//   - PathMTU ("path MTU 1400 < 1450"): small packets pass, those of the path's MTU do not; the first figure is the
//     largest IP packet, in bytes, that came back just now. It is the smaller one of the two directions.
//
// NoPath is never found here: a path that cannot exist is not asked for.
package probe
