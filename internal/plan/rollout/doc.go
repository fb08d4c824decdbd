// Package rollout decides whether a configuration may take the place of the one in effect (Accept), and by which steps every
// node gets from one revision of the backend to another (Next).
//
// It owns the order make before break: a revision is received everywhere before anyone sends with it, and nobody sends with it
// any more before it goes. It refuses what it cannot bring about without loss. What is in effect is read from the
// NodeNetworks and leases; a NetworkConfig's status only helps where they agree with it.
//
// Invariant: whatever subset of a step's writes was made, and whatever spec comes next, no node is asked to send with a
// revision that some node in use has not reported, for its present spec, to be able to receive.
package rollout
