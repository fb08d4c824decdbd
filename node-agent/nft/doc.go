// Package nft keeps the packet filter: the nftables table "inet hopsack" (Table) and, where iptables drops what it does not
// know, two accept rules per pod network in its FORWARD chains (Forward).
//
// # The table
//
//	chain        hook, priority             does
//	prerouting   prerouting, mangle         drops a pod's packet to a tunnel port, before NAT could give it a node's address
//	forward      forward, filter - 10       drops such a packet where NAT has turned another one into it
//	input        input, filter - 10         drops encapsulated packets that are not from a peer's underlay address
//	postrouting  postrouting, srcnat - 10   gives packets their source address: see below
//
// In postrouting the first source decision of a connection binds, and the chain runs before kube-proxy's and Docker's (at
// srcnat). Packets with kube-proxy's mark towards pods get the node's stable address: kube-proxy's own masquerade would tie
// the connection to its output device, and a route that moves to another device would reset it. The mark is taken off, as
// kube-proxy does, so that the encapsulated packet, which inherits marks, is not translated again. Then pod to pod, pod to
// an exempt network and multicast keep their source; all else that pods send off the node gets the address of the device it
// leaves by. A packet without NAT's leave keeps its source: no later chain of hopsack looks at it.
//
// A pod's own use of a tunnel port is dropped whatever the destination: a pod that forges a peer's address would otherwise
// pass the list of peers. Its answer to a client that happens to send from that port is none: the chain runs after
// connection tracking, which knows (dropped, they were one packet in 72,000 of a client with changing ports).
//
// Chains are static; networks, peers and ports are sets, in a pair per family, so that a peer that joins is one element and
// not a new rule set.
//
// # Knowing that it is intact
//
// Listing 5,000 elements through the nft program takes tens of milliseconds; asking the kernel for the generation of its
// nftables rules takes microseconds. While the generation is the one seen after the last look, nothing in any table has
// changed. When it differs (kube-proxy writes often) the table's fingerprint is read by netlink: handles, hooks and policies
// of its chains, its rules but for their counters, and the elements of its sets. Only a difference makes the table be written
// again, whole, in one transaction. So a pass runs no program, needs no event to be right, and the events only make it
// prompt. The same look at policy and rules of FORWARD decides whether iptables-nft must be run; iptables-legacy has neither
// generation nor events, so it is read by full passes only.
//
// Peers that come and go are written by netlink too, on condition that the generation is still the one that was looked at:
// what the table has afterwards is then known without reading it again.
//
// The package owns that table and the rules with the comment "hopsack". It refuses to change a policy or anybody else's
// rule, and to put its accept rules back to the top: a rule that drops before them was put there on purpose.
//
// Invariant: the table is complete or as it was, never half written.
package nft
