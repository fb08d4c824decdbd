// Package plan holds what a pass of the controller has seen of the cluster, in parsed types. Its subpackages decide from that
// what is to be done: leases (which node gets which subnet), rollout (whether a spec is accepted, and which step of a change is
// next), endpoints (what a lease publishes), teardown (when a network may go).
//
// It owns decisions. It refuses to act: no client, no context, no logger, no clock (the time comes in as a value, the time of
// the next needed pass goes out as one).
//
// Invariant: the same input gives the same output, whatever order lists come in and whatever came before; planning again
// after every write of a plan was made gives no writes.
package plan
