package rollout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// history is an object with all versions it ever had, so that everybody can look at it as late as he likes. A version's index is
// its resourceVersion; the first is the absent object.
type history[T any] struct{ versions []T }

func (h *history[T]) put(v T) int {
	h.versions = append(h.versions, v)
	return len(h.versions) - 1
}

func (h *history[T]) latest() int { return len(h.versions) - 1 }

func (h *history[T]) now() T { return h.versions[h.latest()] }

// later is a version that somebody may see next who has seen one.
func (h *history[T]) later(rng *rand.Rand, seen int) int {
	switch rng.IntN(6) {
	case 0, 1:
		return seen
	case 2, 3:
		return min(seen+1, h.latest())
	case 4:
		return h.latest()
	}
	return seen + rng.IntN(h.latest()-seen+1)
}

type nodeObject struct {
	exists    bool
	uid, boot string
	ready     bool
	changed   time.Time
}

type nodeNetworkObject struct {
	exists            bool
	incarnation       int // the object's UID
	generation        int
	nodeUID, transmit string
	revisions         []string
	leader            string
	status            reportObject
}

func (o nodeNetworkObject) has(id string) bool { return slices.Contains(o.revisions, id) }

// reportObject is NodeNetwork.status.
type reportObject struct {
	uid, boot        string
	observed         int
	prepared         []string
	transmit, failed string
	verifications    map[string]v1alpha1.Verification
}

type leaseObject struct{ published bool }

type configObject struct {
	target     string
	generation int64
	paused     bool
	retry      string
	policy     network.RolloutPolicy
	status     v1alpha1.RolloutStatus
}

// machine is a node and its agent: what its kernel really does, and how far the agent has seen.
type machine struct {
	name           string
	up             bool
	boot           int
	receives       map[string]bool
	sends, before  string
	confirmed      bool
	failed         string
	seen           int            // version of its own NodeNetwork
	leases         map[string]int // versions of its peers' leases
	counts         bool           // it programmed its kernel since it booted, and reported for its Node
	abandoned      bool           // the rollout went on without it, and it has not caught up yet
	incarnationUID string
}

type world struct {
	rng    *rand.Rand
	now    time.Time
	names  []string
	nodes  map[string]*history[nodeObject]
	nns    map[string]*history[nodeNetworkObject]
	leases map[string]*history[leaseObject]
	config history[configObject]
	holder string // of the election

	machines map[string]*machine
	// failVerify and failAfter are revisions that a node's peers do not answer over, before and after it was switched.
	failVerify, failAfter map[string]string
	serial                int
	problem               string
	verbose               bool
	log                   []string
}

// say keeps what happened, when somebody wants to know.
func (w *world) say(format string, args ...any) {
	if w.verbose {
		w.log = append(w.log, fmt.Sprintf(format, args...))
	}
}

func (w *world) next() int {
	w.serial++
	return w.serial
}

func newWorld(seed uint64, nodes int) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 7)), now: noon, nodes: map[string]*history[nodeObject]{}, nns: map[string]*history[nodeNetworkObject]{},
		leases: map[string]*history[leaseObject]{}, machines: map[string]*machine{}, failVerify: map[string]string{}, failAfter: map[string]string{},
	}
	for i := range nodes {
		name := fmt.Sprint("n", i)
		w.names = append(w.names, name)
		w.nodes[name] = &history[nodeObject]{versions: make([]nodeObject, 1)}
		w.nns[name] = &history[nodeNetworkObject]{versions: make([]nodeNetworkObject, 1)}
		w.leases[name] = &history[leaseObject]{versions: make([]leaseObject, 1)}
	}
	return w
}

// join makes a Node, and a machine with nothing on it.
func (w *world) join(name string) {
	uid := fmt.Sprint("uid", w.next())
	m := &machine{name: name, up: true, boot: w.next(), receives: map[string]bool{}, leases: map[string]int{}, incarnationUID: uid}
	m.seen = w.nns[name].latest() // it starts with a list
	for _, peer := range w.names {
		m.leases[peer] = w.leases[peer].latest()
	}
	w.machines[name] = m
	w.nodes[name].put(nodeObject{exists: true, uid: uid, boot: fmt.Sprint(m.boot), ready: true, changed: w.now})
	w.say("%s joins as %s", name, uid)
}

// reboot empties the machine's kernel. What the agent saved is as new as what it acted on last, so it goes on from what it
// has seen; without its disk it starts with a list. The Node may tell the boot later.
func (w *world) reboot(m *machine) {
	m.up, m.boot, m.counts = true, w.next(), false
	m.receives, m.sends, m.before, m.failed, m.confirmed = map[string]bool{}, "", "", "", false
	if w.rng.IntN(3) == 0 {
		m.seen = w.nns[m.name].latest()
	}
	w.say("%s boots", m.name)
}

// kubelet brings the Node up to date.
func (w *world) kubelet(m *machine, ready bool) {
	h := w.nodes[m.name]
	n := h.now()
	if !n.exists {
		return
	}
	if n.ready != ready {
		n.ready, n.changed = ready, w.now
	}
	if ready {
		n.boot = fmt.Sprint(m.boot)
	}
	h.put(n)
}

// remove deletes the Node; the machine may go on.
func (w *world) remove(name string) {
	h := w.nodes[name]
	if n := h.now(); n.exists {
		n.exists = false
		h.put(n)
		w.say("%s is deleted", name)
	}
}

// act has the agent do what its spec says, in the order of design.md section 3, or, in haste, only the first part of it.
func (w *world) act(m *machine, whole bool) {
	spec := w.nns[m.name].versions[m.seen]
	stop := func() bool { return !whole && w.rng.IntN(4) == 0 }
	if !m.up || !spec.exists || len(spec.revisions) == 0 || !spec.has(spec.transmit) {
		return
	}
	for _, id := range spec.revisions {
		m.receives[id] = true
	}
	if m.failed != spec.transmit {
		m.failed = ""
	}
	if stop() {
		return
	}
	if m.sends != spec.transmit && m.failed == "" {
		m.before, m.sends, m.confirmed = m.sends, spec.transmit, false
	}
	if stop() {
		return
	}
	if !m.confirmed {
		if w.failAfter[m.name] == m.sends && m.before != "" && m.before != m.sends && spec.has(m.before) {
			m.failed, m.sends = m.sends, m.before
			w.say("%s goes back from %s to %s", m.name, m.failed, m.sends)
		}
		m.confirmed = true
	}
	if stop() {
		return
	}
	for id := range m.receives {
		if !spec.has(id) {
			delete(m.receives, id)
		}
	}
	if spec.nodeUID == w.nodes[m.name].now().uid && m.incarnationUID == spec.nodeUID {
		m.counts = true
	}
	if m.abandoned && w.nodes[m.name].now().ready && w.fits(m) {
		m.abandoned = false
	}
	if stop() {
		return
	}
	w.report(m, spec)
}

// fits says that the machine receives what all others send or were asked to, and they what it sends.
func (w *world) fits(m *machine) bool {
	for _, name := range w.names {
		if o, ok := w.part(name); ok && !(m.receives[o.sends] && m.receives[w.nns[name].now().transmit] && o.receives[m.sends]) {
			return false
		}
	}
	return true
}

// report writes status. It does not touch an object that only has the same name.
func (w *world) report(m *machine, spec nodeNetworkObject) {
	h := w.nns[m.name]
	o := h.now()
	if !o.exists || o.incarnation != spec.incarnation {
		return
	}
	r := reportObject{
		uid: spec.nodeUID, boot: fmt.Sprint(m.boot), observed: spec.generation, prepared: slices.Sorted(maps.Keys(m.receives)),
		failed: m.failed, verifications: map[string]v1alpha1.Verification{},
	}
	if m.confirmed {
		r.transmit = m.sends
	}
	for _, id := range spec.revisions {
		r.verifications[id] = w.probe(m, id)
	}
	o.status = r
	h.put(o)
}

func (w *world) probe(m *machine, id string) v1alpha1.Verification {
	v := v1alpha1.Verification{Revision: id}
	for _, peer := range w.names {
		if peer == m.name || !w.leases[peer].versions[m.leases[peer]].published {
			continue
		}
		v.Peers++
		p := w.machines[peer]
		switch {
		case p == nil || !p.up || !p.counts:
			v.Failing = append(v.Failing, v1alpha1.FailingPeer{Node: peer, Reason: v1alpha1.ProbePeerDead})
		case w.failVerify[peer] == id || w.failVerify[m.name] == id || !p.receives[id]:
			v.Failing = append(v.Failing, v1alpha1.FailingPeer{Node: peer, Reason: v1alpha1.ProbeNoAnswer})
		default:
			v.Verified++
		}
	}
	v.FailingCount = int32(len(v.Failing))
	return v
}

// look has the agent see more of what there is.
func (w *world) look(m *machine) {
	m.seen = w.nns[m.name].later(w.rng, m.seen)
	for _, peer := range w.names {
		m.leases[peer] = w.leases[peer].later(w.rng, m.leases[peer])
	}
}

// part says that packets between this node and others count: it exists, is published, and its agent has had its say.
func (w *world) part(name string) (*machine, bool) {
	m := w.machines[name]
	if m == nil || !m.up || !m.counts || m.abandoned || !w.leases[name].now().published {
		return m, false
	}
	n := w.nodes[name].now()
	return m, n.exists && n.uid == m.incarnationUID
}

// check looks at what kernels really do: nobody sends what a peer does not receive.
func (w *world) check(after string) {
	if w.problem != "" {
		return
	}
	for _, from := range w.names {
		a, ok := w.part(from)
		if !ok || a.sends == "" {
			continue
		}
		for _, to := range w.names {
			if b, ok := w.part(to); ok && !b.receives[a.sends] {
				w.problem = fmt.Sprintf("after %s: %s sends %s, which %s does not receive (%v)", after, from, a.sends, to, slices.Sorted(maps.Keys(b.receives)))
			}
		}
	}
}
