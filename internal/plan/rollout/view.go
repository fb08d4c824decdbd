package rollout

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/internal/plan"
)

// notLiveAfter is how long a node may be not Ready and still counts as live: as long as Kubernetes itself gives a kubelet.
const notLiveAfter = 40 * time.Second

// neverReady is how soon after its creation a Node's condition must have become what it is for the Node to count as one that has
// not been Ready yet.
const neverReady = 10 * time.Second

// member is a node that has a subnet in use, or that peers send to.
type member struct {
	name string
	node plan.Node
	plan.NodeNetwork
	// published says that peers may send to it; waited that the rollout waits for it.
	published, waited bool
	live, abandoned   bool
}

// view is the input, looked at once.
type view struct {
	Input
	members []*member
	// waited are those members that the rollout waits for.
	waited []*member
	// carried are the revisions in the specs of all members that are not abandoned.
	carried map[string]plan.Revision
	fenced  bool
	// publishedNodes is how many existing nodes have a published lease.
	publishedNodes int
}

func look(in Input) *view {
	v := &view{Input: in, carried: map[string]plan.Revision{}, fenced: true}
	published := map[string]bool{}
	for _, l := range in.Cluster.Leases {
		if _, ok := in.Cluster.Nodes[l.Node]; ok && l.Published && !l.Released() {
			published[l.Node] = true
		}
	}
	v.publishedNodes = len(published)
	for _, name := range slices.Sorted(maps.Keys(in.Cluster.Nodes)) {
		nn, ok := in.Cluster.NodeNetworks[name]
		if ok && in.Leader != "" && nn.Leader != in.Leader {
			v.fenced = false
		}
		if !nn.InUse() && !published[name] { // a published node whose NodeNetwork was lost goes on as it did
			continue
		}
		m := &member{name: name, node: in.Cluster.Nodes[name], NodeNetwork: nn, published: published[name]}
		m.live, m.abandoned = v.alive(m.node)
		// A node that was never published sends and receives nothing. This controller may not have seen yet that another one
		// published it, but that takes a report, so one that has reported, whenever and for whatever Node, counts.
		m.waited = m.published || len(nn.Report.Prepared) > 0
		v.members = append(v.members, m)
	}
	v.spare()
	for _, m := range v.members {
		if m.waited {
			v.waited = append(v.waited, m)
		}
		if !m.abandoned {
			for _, r := range m.Revisions {
				v.carried[r.ID] = r
			}
		}
	}
	if _, ok := v.carried[in.Target.ID]; ok {
		v.carried[in.Target.ID] = in.Target
	}
	return v
}

// spare abandons no node when most are away: then it is the API server or the control plane's network that was, and their
// traffic goes on.
func (v *view) spare() {
	live := 0
	for _, m := range v.members {
		if m.live {
			live++
		}
	}
	for _, m := range v.members {
		m.abandoned = m.abandoned && 2*live >= len(v.members)
		m.waited = m.waited && !m.abandoned
	}
}

// alive says whether the node is live, and if not, whether it has been so for so long that the rollout goes on without it.
func (v *view) alive(n plan.Node) (live, abandoned bool) {
	if n.Ready || n.ReadyChanged.IsZero() || n.ReadyChanged.Before(n.Created.Add(neverReady)) && !n.Created.IsZero() {
		return true, false
	}
	away := v.Now.Sub(n.ReadyChanged)
	live = away <= notLiveAfter
	return live, !live && v.Policy.AbandonAfter > 0 && away >= v.Policy.AbandonAfter
}

// received says that the node's agent reported, for the spec it has now, that it can receive the revision.
func (m *member) received(id string) bool {
	return m.Has(id) && m.Report.Known && m.Report.Current && slices.Contains(m.Report.Prepared, id)
}

// sends says that the node is known to send with the revision: asked to, or reported to.
func (m *member) sends(id string) bool {
	return m.Has(id) && (m.Transmit == id || m.Report.Known && m.Report.Current && m.Report.Transmit == id)
}

// confirmed says that the node reported, for the spec it has now, to send with what it was asked to send with.
func (m *member) confirmed() bool {
	return m.Has(m.Transmit) && m.Report.Known && m.Report.Current && m.Report.Transmit == m.Transmit
}

// asked says that the node, prepared for the revision, was told to send with it and has not answered yet.
func (m *member) asked(id string) bool {
	return m.Transmit == id && m.Has(id) && m.Report.Known && !m.Report.Current && slices.Contains(m.Report.Prepared, id)
}

// at says that the node has confirmed this revision.
func (m *member) at(id string) bool { return m.Transmit == id && m.confirmed() }

// failed says that the node tried to send with the revision, as it was asked to, and left it by itself.
func (m *member) failed(id string) bool {
	return m.Report.Known && m.Report.Current && m.Transmit == id && m.Report.Failed == id && id != ""
}

// maySend calls f with every revision that the node may be sending with.
func (m *member) maySend(f func(id string)) {
	if m.confirmed() {
		f(m.Transmit)
		return
	}
	if m.failed(m.Transmit) && m.Has(m.Report.Transmit) { // it stays there until it is asked for something else, or starts anew
		f(m.Transmit)
		f(m.Report.Transmit)
		return
	}
	for _, r := range m.Revisions {
		f(r.ID)
	}
}

// asked are the revisions that some node was asked to send with, or says it does.
func (v *view) asked() map[string]bool {
	out := map[string]bool{}
	for id := range v.carried {
		if slices.ContainsFunc(v.waited, func(m *member) bool { return m.sends(id) }) {
			out[id] = true
		}
	}
	return out
}

// needed are the revisions that some node may send with or was asked to.
func (v *view) needed() map[string]bool {
	out := map[string]bool{}
	for _, m := range v.waited {
		if len(m.Revisions) == 0 {
			for id := range v.carried {
				out[id] = true
			}
		}
		m.maySend(func(id string) { out[id] = true })
		if m.Has(m.Transmit) {
			out[m.Transmit] = true
		}
	}
	return out
}

// inUse says that some published node sends with the revision, so that everybody receives it already: it was prepared by all
// before the first was asked, and cannot have gone since.
func (v *view) inUse(id string) bool {
	return slices.ContainsFunc(v.waited, func(m *member) bool { return m.published && m.sends(id) })
}

// all says whether every node waited for is so.
func (v *view) all(is func(*member) bool) bool { return len(v.lacking(is)) == 0 }

// lacking names the nodes waited for that are not so.
func (v *view) lacking(is func(*member) bool) []string {
	var out []string
	for _, m := range v.waited {
		if !is(m) {
			out = append(out, m.name)
		}
	}
	return out
}

func (v *view) count(is func(*member) bool) int { return len(v.waited) - len(v.lacking(is)) }

// mostAsked is the revision, other than the one named, that most nodes waited for were asked to send with.
func (v *view) mostAsked(other string) string {
	senders := map[string]int{}
	for _, m := range v.waited {
		if m.Transmit != other && m.Has(m.Transmit) {
			senders[m.Transmit]++
		}
	}
	return most(senders)
}

// most is the key with the highest count, of equal ones the first; "" without any.
func most(counts map[string]int) string {
	best := ""
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		if best == "" || counts[id] > counts[best] {
			best = id
		}
	}
	return best
}

// source is the revision that nodes are moved away from; "" when there is none.
func (v *view) source() string {
	target := v.Target.ID
	wentBack := func(m *member) bool { return m.failed(target) && m.Has(v.Past.Source) }
	if past := v.Past.Source; past != "" && past != target && v.Past.Target == target && (v.inUse(past) || slices.ContainsFunc(v.waited, wentBack)) {
		return past
	}
	if id := v.mostAsked(target); id != "" {
		return id
	}
	for _, m := range v.waited { // all were asked to leave it, and one went back by itself
		if id := m.Report.Transmit; id != target && m.sends(id) {
			return id
		}
		for _, r := range m.Revisions {
			if m.failed(target) && r.ID != target {
				return r.ID
			}
		}
	}
	return ""
}

// sorted are revisions in the order of their names.
func sorted(in map[string]plan.Revision) []plan.Revision {
	return slices.SortedFunc(maps.Values(in), func(a, b plan.Revision) int { return cmp.Compare(a.ID, b.ID) })
}
