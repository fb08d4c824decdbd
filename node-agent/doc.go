// Package nodeagent is the agent on every node: one level-triggered loop that turns the node's own NodeNetwork and the
// leases of its peers into kernel state, and reports what came of it.
//
// It owns the loop, the view of the objects (what the API last said, and what to believe when it contradicts itself), the
// choice of the underlay interface, when CNI plugins come and go, and the node's status. Beside the loop it has peers probed
// (verifier) and remembers what they answered (ledger); from that follow which revision the node sends with (commit), which
// peers are reached directly, and whether a node that joins may start pods. It refuses to decide about the data path (that
// is desired), to write to the kernel (that is dataplane), and to watch anything but leases and its own NodeNetwork.
//
// What the agent found out by itself is on disk before it is reported, and probes cost nothing while there is nothing to prove.
//
// Invariant: events only say when. Start-up, a peer joining, drift and clean-up are the same pass, and a pass that finds
// nothing to change writes nothing.
package nodeagent
