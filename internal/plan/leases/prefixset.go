package leases

import (
	"net/netip"
	"slices"
)

// prefixSet finds which of its prefixes overlap a given one, without looking at all of them.
type prefixSet struct {
	sorted []netip.Prefix // by address, then length; each once
	in     map[netip.Prefix]bool
	// lengths counts the prefixes by their length, so that a look-up skips lengths nobody uses.
	lengths map[int]int
}

func newPrefixSet(prefixes []netip.Prefix) *prefixSet {
	s := &prefixSet{sorted: slices.Clone(prefixes), in: make(map[netip.Prefix]bool, len(prefixes)), lengths: map[int]int{}}
	slices.SortFunc(s.sorted, netip.Prefix.Compare)
	s.sorted = slices.Compact(s.sorted)
	for _, p := range s.sorted {
		s.in[p] = true
		s.lengths[p.Bits()]++
	}
	return s
}

func (s *prefixSet) add(p netip.Prefix) {
	if s.in[p] {
		return
	}
	i, _ := slices.BinarySearchFunc(s.sorted, p, netip.Prefix.Compare)
	s.sorted = slices.Insert(s.sorted, i, p)
	s.in[p] = true
	s.lengths[p.Bits()]++
}

func (s *prefixSet) remove(p netip.Prefix) {
	if !s.in[p] {
		return
	}
	i, _ := slices.BinarySearchFunc(s.sorted, p, netip.Prefix.Compare)
	s.sorted = slices.Delete(s.sorted, i, i+1)
	delete(s.in, p)
	s.lengths[p.Bits()]--
}

// overlapping lists the members that overlap p, p itself included: first those that hold it, widest last, then those inside.
func (s *prefixSet) overlapping(p netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for b := p.Bits(); b >= 0; b-- {
		if s.lengths[b] == 0 {
			continue
		}
		if q := netip.PrefixFrom(p.Addr(), b).Masked(); s.in[q] {
			out = append(out, q)
		}
	}
	i, _ := slices.BinarySearchFunc(s.sorted, p, func(q, p netip.Prefix) int { return q.Addr().Compare(p.Addr()) })
	for ; i < len(s.sorted) && p.Contains(s.sorted[i].Addr()); i++ {
		if s.sorted[i].Bits() > p.Bits() {
			out = append(out, s.sorted[i])
		}
	}
	return out
}

// other is a member that overlaps p and is not p itself.
func (s *prefixSet) other(p netip.Prefix) (netip.Prefix, bool) {
	for _, q := range s.overlapping(p) {
		if q != p {
			return q, true
		}
	}
	return netip.Prefix{}, false
}
