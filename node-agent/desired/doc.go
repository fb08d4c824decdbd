// Package desired computes what a node's kernel and CNI files should be: one pure function from the node's own NodeNetwork,
// the leases of its peers and a few local facts to a State.
//
// It owns every decision about the data path (which peer is reached how, with what source and MTU), for each revision of the
// backend that the node receives: how it would send, and by which table that can be proven before it does. It refuses to read or
// write anything: no netlink, no nftables, no API, no clock.
//
// Invariant: the same input gives the same State, and State.String is the same text, whatever order the input came in.
package desired
