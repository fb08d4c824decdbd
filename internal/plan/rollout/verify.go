package rollout

import (
	"cmp"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// maxListed is how many nodes or pairs status names.
const maxListed = 16

// proof is what the nodes together know of a revision.
type proof struct {
	// failing are the pairs that one side could not prove and the other side did not prove either, each once, and count how
	// many there are, in the reports' own count where their lists are cut off.
	failing []v1alpha1.NodePair
	count   int
	// pending names the nodes that have pairs which are neither proven nor failing.
	pending []string
	// hopeless says that some pair fails for want of any way between the nodes, which no second probe changes.
	hopeless bool
	// peers is how many each node has; worst are the nodes that fail against most of them.
	peers int
	worst []string
}

func (p proof) good() bool { return len(p.failing) == 0 && len(p.pending) == 0 }

// verification is the node's report about the revision; ok is false where it has none that counts.
func (m *member) verification(id string) (v v1alpha1.Verification, ok bool) {
	if !m.Report.Known || !m.Report.Current {
		return v, false
	}
	v, ok = m.Report.Verifications[id]
	return v, ok
}

// complete says that the node probed every peer with the revision and reached each.
func (v *view) complete(m *member, id string) bool {
	r, ok := m.verification(id)
	return ok && int(r.Peers) >= v.peersOf(m) && r.Verified >= r.Peers
}

// peersOf is how many peers the node must at least have probed: those that are published.
func (v *view) peersOf(m *member) int {
	if m.published {
		return v.publishedNodes - 1
	}
	return v.publishedNodes
}

// outlook is what one node's report says of its peers.
type outlook struct {
	*member
	// failing are the peers it could not reach and that are no excuse.
	failing map[string]v1alpha1.FailingPeer
	// excused are the others it could not reach: they are not live, and do not answer over the path in force, either.
	excused map[string]bool
	// rest says that it proved all peers that are in neither.
	rest bool
}

// proves says that the node reached the peer.
func (o outlook) proves(peer string) bool {
	_, failing := o.failing[peer]
	return o.rest && !failing && !o.excused[peer]
}

// outlook reads a node's report. away are the published nodes that are not live.
func (v *view) outlook(m *member, id string, away map[string]bool) outlook {
	out := outlook{member: m, failing: map[string]v1alpha1.FailingPeer{}, excused: map[string]bool{}}
	r, ok := m.verification(id)
	if !ok {
		return out
	}
	for _, f := range r.Failing {
		if away[f.Node] && f.Reason == v1alpha1.ProbePeerDead {
			out.excused[f.Node] = true
		} else {
			out.failing[f.Node] = f
		}
	}
	probed := r.Verified+r.FailingCount >= r.Peers && int(r.Peers) >= v.peersOf(m)
	// A list that is cut off tells nothing of those it leaves out, unless all that it names are away and it could name no more.
	whole := int(r.FailingCount) == len(r.Failing) || len(out.failing) == 0 && int(r.FailingCount) <= len(away)
	out.rest = probed && whole
	return out
}

// prove puts the reports about a revision together. A probe goes there and back, so a pair that either side proved is proven.
// A pair with a node that is not live fails only when that node answers over the path in force.
func (v *view) prove(id string) proof {
	away, published := map[string]bool{}, 0
	for _, m := range v.members {
		if m.published && (!m.live || m.abandoned) {
			away[m.name] = true
		}
	}
	var open []outlook // those that did not prove every pair that they are in
	for _, m := range v.members {
		if m.published && !m.abandoned {
			published++
			if o := v.outlook(m, id, away); !o.rest || len(o.failing)+len(o.excused) > 0 {
				open = append(open, o)
			}
		}
	}
	p := proof{peers: published - 1}
	fails, pending := map[string]int{}, map[string]bool{}
	for i, a := range open {
		for _, b := range open[i+1:] {
			ab, aFails := a.failing[b.name]
			ba, bFails := b.failing[a.name]
			switch {
			case a.proves(b.name) || b.proves(a.name):
				continue
			case aFails:
				p.failing = append(p.failing, pair(a.name, ab))
			case bFails:
				p.failing = append(p.failing, pair(b.name, ba))
			default:
				if a.live && b.live {
					pending[a.name], pending[b.name] = pending[a.name] || !a.rest, pending[b.name] || !b.rest
				}
				continue
			}
			fails[a.name]++
			fails[b.name]++
			p.hopeless = p.hopeless || ab.Reason == v1alpha1.ProbeNoPath || ba.Reason == v1alpha1.ProbeNoPath
		}
	}
	p.blame(open, fails, id)
	for _, o := range open {
		if pending[o.name] {
			p.pending = append(p.pending, o.name)
		}
	}
	return p
}

func pair(from string, f v1alpha1.FailingPeer) v1alpha1.NodePair {
	return v1alpha1.NodePair{From: from, To: f.Node, Reason: f.Reason, Message: f.Message}
}

// blame finds the nodes that fail against most peers, and counts the failing pairs, those included that lists leave out.
func (p *proof) blame(open []outlook, fails map[string]int, id string) {
	reported, cut := 0, false
	for _, o := range open {
		n := fails[o.name]
		if n == 0 {
			continue
		}
		r, _ := o.verification(id)
		reported += int(r.FailingCount)
		if int(r.FailingCount) > len(r.Failing) {
			cut, n = true, max(n, int(r.FailingCount))
		}
		if p.peers >= 2 && 2*n > p.peers {
			p.worst = append(p.worst, o.name)
		}
	}
	if p.count = len(p.failing); cut {
		p.count = max(p.count, (reported+1)/2)
	}
}

// encapsulated are the pairs that stay encapsulated although they are on one segment, each once.
func (v *view) encapsulated(id string) (pairs []v1alpha1.NodePair, count int) {
	seen := map[[2]string]bool{}
	total, cut := 0, false
	for _, m := range v.waited {
		if !m.Report.Known {
			continue
		}
		r := m.Report.Verifications[id]
		total += int(r.EncapsulatedCount)
		cut = cut || int(r.EncapsulatedCount) > len(r.Encapsulated)
		for _, f := range r.Encapsulated {
			key := [2]string{min(m.name, f.Node), max(m.name, f.Node)}
			if !seen[key] {
				seen[key] = true
				pairs = append(pairs, pair(m.name, f))
			}
		}
	}
	count = len(pairs)
	if cut {
		count = max(count, (total+1)/2)
	}
	return firstPairs(pairs), count
}

// firstPairs are at most as many as status lists, in the order of their names.
func firstPairs(pairs []v1alpha1.NodePair) []v1alpha1.NodePair {
	slices.SortFunc(pairs, func(a, b v1alpha1.NodePair) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return pairs[:min(len(pairs), maxListed)]
}
