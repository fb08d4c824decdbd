// Package leases decides which node gets which subnet.
//
// It owns reservation, adoption, retention, recycling and exhaustion: Make says what a pass has to write before and while
// leases are taken, Settle says afterwards, from a live list, which of them may be bound. It refuses to move a node that has a
// subnet, and to hand out anything that overlaps a lease, in whatever state that is.
//
// Invariant: no two subnets that it lets be bound overlap, whoever else creates leases meanwhile: a subnet is bound only after
// its lease exists and a list read later shows no other that overlaps, so of two creators the later one's list shows the first.
package leases
