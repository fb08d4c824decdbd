// Package teardown decides how far the removal of a network is.
//
// It owns the order: agents clean up first, leases and NodeNetworks go after, the NetworkConfig last. It refuses to go on past
// a live node whose agent has not said that it is clean, and to take a NodeNetwork that is missing for such a word.
//
// Invariant: nothing is removed without the user's confirmation while a node uses its subnet.
package teardown
