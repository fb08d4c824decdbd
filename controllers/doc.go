// Package controllers is hopsack's one controller: it reads the cluster, lets internal/plan decide, and writes what differs.
//
// It owns NodeNetwork.spec, SubnetLease, the status of NetworkConfig, the condition SubnetsAssigned of a NodeNetwork and the
// condition NetworkUnavailable of a Node. It refuses to write a user's spec, to act on the absence of a Node that a live read
// does not confirm, and to count on the garbage collector or on having seen any particular event.
//
// Every event leads to the same pass over the whole cluster, and those that arrive meanwhile to one more: the state of the art
// is a few lists from a cache. A pass writes in the order of design.md section 3: released and expired leases, intents, leases,
// one live list, bound subnets, what leases publish, conditions, status. It may end anywhere; the next one goes on from the
// objects.
//
// A rollout is one step of internal/plan/rollout per pass. A controller that lost the election without noticing is kept out by
// the fence (fence.go): it writes only NodeNetworks that carry its identity, or those of which it has read that they are its to
// take over.
//
// Invariant: every write to a NodeNetwork's spec or a lease is conditional on the version the pass has planned from, and a
// pass over objects that have not changed writes nothing.
package controllers
