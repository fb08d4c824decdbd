// Package probe proves paths between nodes with real packets.
//
// A Prober keeps a small anonymous network namespace plugged into the pods' bridge, with the reserved address of the node's
// subnet, so that forward hooks, NAT, reverse path filtering and MTU are on the path as they are for a pod's packets. The
// namespace is held by file descriptors: it goes with the process. Each path has a UDP source port by which ip rules choose its
// routing table (package desired). A probe carries an unguessable nonce and the name of its path; the peer's Prober answers over
// its own path of that name, from that path's own source port, so that both directions are proven as new flows.
//
// The package decides nothing about rollouts: whom to ask, when, and what follows from the answer is the agent's. It answers
// only addresses it was told of, at a bounded rate, and never sends more than it received.
package probe
