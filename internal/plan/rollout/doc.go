// Package rollout decides whether a configuration may take the place of the one in effect (Accept), and by which steps every
// node gets from one revision of the backend to another (Next).
//
// It owns the order make before break: a revision is received everywhere and proven between all before anyone sends with it, and
// nobody may send with it any more before it goes. What is in effect is read from the NodeNetworks, their reports and the leases;
// a NetworkConfig's status adds only why a generation was given up, where nodes came from, and times. It refuses what it cannot
// bring about without loss.
//
// A report counts only when the input says that it is of the Node that exists and since its last boot, and, for every barrier,
// about the present spec. What this controller has seen counts only when every NodeNetwork carries its identity (Step.Fence).
//
// Invariant: whatever subset of a step's writes was made, however late each of its views was, and whatever spec comes next, no
// node is asked to send with a revision that some published node has not reported to be able to receive, and no revision is taken
// away that some published node may still send with. Nodes that are abandoned are left out of it.
package rollout
