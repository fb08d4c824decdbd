package cli

import (
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// segments says of pairs of nodes whether they share a segment, as far as that follows from what agents report: how many
// peers they reach directly and encapsulated, and which peers on the same segment stay encapsulated. No object names every
// pair, because status must not grow with the cluster.
type segments struct {
	index map[string]int
	known [][]nearness // symmetric
}

type nearness int8

const (
	unknown nearness = iota
	near
	far
)

// newSegments draws conclusions until there are no more: a node whose far peers are all known has only near ones left, and
// the other way round.
func newSegments(c cluster) *segments {
	s := &segments{index: map[string]int{}}
	members := c.members()
	for i, name := range members {
		s.index[name] = i
		s.known = append(s.known, make([]nearness, len(members)))
	}
	counts := map[int]int{} // near peers by node
	for i := range c.nodes {
		nn := &c.nodes[i]
		at, ok := s.index[nn.Name]
		if !ok || nn.Status.Paths == nil || !choosesBySegment(nn) {
			continue
		}
		nearPeers := nn.Status.Paths.Direct
		if v := verificationOf(nn, nn.Status.TransmitRevision); v != nil {
			nearPeers += v.EncapsulatedCount
			for _, e := range v.Encapsulated {
				s.set(nn.Name, e.Node, near)
			}
		}
		if int(nn.Status.Paths.Direct+nn.Status.Paths.Encapsulated) == len(members)-1 { // else it is about other peers than there are now
			counts[at] = int(nearPeers)
		}
	}
	for s.conclude(counts) {
	}
	return s
}

// conclude fills in what follows for single nodes, and says whether anything did.
func (s *segments) conclude(counts map[int]int) bool {
	changed := false
	for at, nearPeers := range counts {
		row := s.known[at]
		farPeers := len(row) - 1 - nearPeers
		have := map[nearness]int{}
		for to, k := range row {
			if to != at {
				have[k]++
			}
		}
		rest := unknown
		switch {
		case have[unknown] == 0:
		case have[near] == nearPeers:
			rest = far
		case have[far] == farPeers:
			rest = near
		}
		if rest == unknown {
			continue
		}
		for to := range row {
			if to != at && row[to] == unknown {
				row[to], s.known[to][at] = rest, rest
				changed = true
			}
		}
	}
	return changed
}

func (s *segments) set(a, b string, k nearness) {
	i, okA := s.index[a]
	j, okB := s.index[b]
	if okA && okB && i != j {
		s.known[i][j], s.known[j][i] = k, k
	}
}

// between says what is known of a pair.
func (s *segments) between(a, b string) nearness {
	i, okA := s.index[a]
	j, okB := s.index[b]
	if !okA || !okB {
		return unknown
	}
	return s.known[i][j]
}

// members are the nodes that peers send to: those with a lease that publishes an address.
func (c cluster) members() []string {
	var out []string
	for _, l := range c.leases {
		if l.Status.ReleasedAt == nil && (l.Status.PublicIP != "" || l.Status.PublicIPv6 != "") {
			out = append(out, l.Spec.NodeName)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// choosesBySegment says whether what the node sends with leaves the encapsulation out on its own segment only.
func choosesBySegment(nn *v1alpha1.NodeNetwork) bool {
	r := revisionOf(nn, nn.Status.TransmitRevision)
	return r != nil && r.Backend.VXLAN != nil && r.Backend.VXLAN.DirectRouting != "" &&
		r.Backend.VXLAN.DirectRouting != v1alpha1.DirectRoutingNever
}
