package leases

import (
	"net/netip"
)

// Lost is a lease that was taken and may not be bound.
type Lost struct {
	Take
	// Other is the lease it overlaps; invalid when its own is not in the list.
	Other netip.Prefix
}

// Settle decides, from a list of leases read live after the takes, which of them may be bound: those that overlap no other
// lease, in whatever state that is.
func Settle(takes []Take, live []netip.Prefix) (bind []Take, lost []Lost) {
	all := newPrefixSet(live)
	for _, t := range takes {
		other, overlaps := all.other(t.Prefix)
		if overlaps || !all.in[t.Prefix] {
			lost = append(lost, Lost{Take: t, Other: other})
			continue
		}
		bind = append(bind, t)
	}
	return bind, lost
}
