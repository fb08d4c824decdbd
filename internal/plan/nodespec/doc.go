// Package nodespec renders NodeNetwork.spec: everything an agent needs besides the leases of its peers.
//
// It owns the VTEP MACs: derived from node names, so that a node keeps its own whatever is lost, and changed only where two
// names collide. It refuses nothing: its input is checked.
//
// Invariant: equal input renders equal specs, in the form in which the API server returns them.
package nodespec
