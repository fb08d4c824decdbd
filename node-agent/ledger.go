package nodeagent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
)

const (
	// failingAfter is how many asks in a row a peer leaves unanswered before it counts as failing, giveUpAfter before a path
	// that packets take because it was proven is given up. Each ask is several packets.
	failingAfter = 2
	giveUpAfter  = 3
	// askAgain is the pause after an ask that failed, doubled up to askAgainMax.
	askAgain    = 100 * time.Millisecond
	askAgainMax = 5 * time.Second
	// recheckEvery is the least time between asks of one peer over a direct path in use. With more than 20 such peers the
	// budget per node makes it longer.
	recheckEvery = time.Second
	// provePace and watchPace are the pauses between asks: 200 per second while something is to be proven, 20 for what is
	// only watched.
	provePace = 5 * time.Millisecond
	watchPace = 50 * time.Millisecond
	// spreadPer peer, up to spreadMax, is over how long first asks are spread: all nodes hear of a revision at once.
	spreadPer = 2 * time.Millisecond
	spreadMax = 2 * time.Second
	// maxSearched is among how many entries the most urgent one is looked for: thousands of peers have tens of thousands.
	maxSearched = 1024
	// maxSampled is how many peers a node that joins asks.
	maxSampled = 64
)

// assignment is what a ledger is to find out.
type assignment struct {
	// Probes are the paths, the current one first.
	Probes []desired.Probe
	// Local is the node's own underlay address. When it changes nothing that was found holds any more.
	Local netip.Addr
	// Transmit is the revision in force; Previous the one it took the place of, while it is on trial.
	Transmit, Previous string
	// Gate asks whether peers answer at all (a node that joins).
	Gate bool
	// Check is a user's request to probe all peers over the current path, "" for none.
	Check string
}

// entryKey names what an answer is about. A peer with another address is another peer.
type entryKey struct {
	Revision string
	Kind     desired.ProbeKind
	Node     string
	Subnet   netip.Prefix
	Underlay netip.Addr
}

// entry is what is known of one peer over one path.
type entry struct {
	key    entryKey
	path   probe.Path
	target probe.Target
	// noPath says why the revision has no way to the peer, "" where it has one.
	noPath string
	// proven: it answered, and did not fail giveUpAfter times in a row since.
	proven bool
	// answered is when it did last, rtt how fast.
	answered time.Time
	rtt      time.Duration
	// failures and misses count asks in a row that failed, and those that proved nothing: a peer that answers but does not
	// have the path yet misses without failing.
	failures, misses int
	// due is when it may be asked next; inFlight says that it is being asked.
	due      time.Time
	inFlight bool
	// finding is why it fails.
	finding probe.Finding
	// trialMisses are the misses in a row since the revision in force is on trial.
	trialMisses int
	// asked is when it was asked last, failed when it failed last. suspect says that the peer was there before the ask that failed,
	// by an answer over the revision that was left.
	asked, failed time.Time
	suspect       bool
	// losses counts how often a direct path was given up in a row, each within lossesLast of the one before, the last at lost.
	losses int
	lost   time.Time
	// checking says that a check waits for the peer, checkMisses how often it has missed in that check.
	checking    bool
	checkMisses int
}

// failing says that the peer is known not to be reached.
func (e *entry) failing() bool { return e.noPath != "" || !e.proven && e.failures >= failingAfter }

// patience is how many failed asks in a row take back that a path is proven.
func (e *entry) patience() int {
	if e.key.Kind == desired.ProbeDirect {
		return giveUpAfter
	}
	return failingAfter
}

// report is the entry as the API has it.
func (e *entry) report() v1alpha1.FailingPeer {
	out := v1alpha1.FailingPeer{Node: e.key.Node, Reason: e.finding.Reason, Message: e.finding.Message}
	if e.noPath != "" {
		out.Reason, out.Message = v1alpha1.ProbeNoPath, e.noPath
	}
	if out.Reason == "" {
		out.Reason, out.Message = v1alpha1.ProbeNoAnswer, "no answer from "+e.key.Underlay.String()
		if e.path.TunnelPort != 0 && !e.target.Direct {
			out.Message = fmt.Sprintf("no answer over UDP %d from %s", e.path.TunnelPort, e.key.Underlay)
		}
	}
	out.Message = truncate(out.Message, maxPeerMessage)
	return out
}

// maxPeerMessage is the API's limit, in bytes.
const maxPeerMessage = 256

// ledger holds what is known of peers, by path, and says whom to ask next. It has no clock and sends nothing.
type ledger struct {
	want    assignment
	entries map[entryKey]*entry
	// byPeer are the entries of a node.
	byPeer map[string][]*entry
	// assumed are the nodes, by revision, that an earlier process reached directly: they stay until a probe says otherwise.
	assumed map[string]map[string]bool
	// trialSince is when the revision in force began to be on trial.
	trialSince time.Time
	sample     map[string]bool
	check      checkRound
	// nextProve and nextWatch are when the budgets allow the next ask.
	nextProve, nextWatch time.Time
}

func newLedger() *ledger {
	return &ledger{entries: map[entryKey]*entry{}, assumed: map[string]map[string]bool{}}
}

// assume has the direct paths of a revision to nodes count as proven when they are first heard of.
func (l *ledger) assume(revision string, nodes map[string]bool) { l.assumed[revision] = nodes }

// set takes up what is to be found out. What is known of paths and peers that go on existing is kept, the rest forgotten.
func (l *ledger) set(want assignment, now time.Time) {
	if l.want.Local != want.Local {
		l.entries = map[entryKey]*entry{}
	}
	old := l.entries
	l.entries, l.byPeer = map[entryKey]*entry{}, map[string][]*entry{}
	for i, p := range want.Probes {
		for _, t := range p.Targets {
			if p.Kind == desired.ProbeDirect && t.NoPath != "" {
				continue // not on the same segment: there is nothing to prove
			}
			key := entryKey{Revision: p.Revision, Kind: p.Kind, Node: t.Node, Subnet: t.Subnet, Underlay: t.Underlay}
			e := old[key]
			if e == nil {
				e = l.newEntry(key, len(p.Targets), now)
			}
			e.path, e.target, e.noPath = probePath(p, i == 0), probeTarget(t), t.NoPath
			l.entries[key] = e
			l.byPeer[key.Node] = append(l.byPeer[key.Node], e)
		}
	}
	for revision := range l.assumed {
		if slices.ContainsFunc(want.Probes, func(p desired.Probe) bool { return p.Revision == revision && p.Kind == desired.ProbeDirect }) {
			delete(l.assumed, revision)
		}
	}
	if want.Previous != "" && (want.Previous != l.want.Previous || want.Transmit != l.want.Transmit) {
		l.trialSince = now
		for _, e := range l.entries {
			e.trialMisses, e.suspect = 0, false
		}
	}
	if want.Gate && !l.want.Gate { // the node has another endpoint: what peers answered at the last one says nothing
		for _, e := range l.entries {
			e.proven = e.proven && e.key.Kind != desired.ProbeCurrent
		}
	}
	l.want = want
	l.setSample()
	l.setCheck(now)
}

// newEntry is a peer that nothing is known of, or that an earlier process reached.
func (l *ledger) newEntry(key entryKey, peers int, now time.Time) *entry {
	spread := min(time.Duration(peers)*spreadPer, spreadMax)
	e := &entry{key: key, due: now.Add(rand.N(spread + 1))}
	e.proven = key.Kind == desired.ProbeDirect && l.assumed[key.Revision][key.Node]
	return e
}

// pathName is the name of a path on the wire.
func pathName(revision string, kind desired.ProbeKind) string {
	if kind == desired.ProbeCurrent {
		return ""
	}
	return revision + "/" + string(kind)
}

func probePath(p desired.Probe, current bool) probe.Path {
	out := probe.Path{Name: pathName(p.Revision, p.Kind), Port: p.Port, MTU: p.MTU, TunnelPort: p.TunnelPort}
	if current {
		out.Name = ""
	}
	return out
}

func probeTarget(t desired.ProbeTarget) probe.Target {
	pod, _ := handoff.ReservedAddress(t.Subnet) // desired leaves out peers without one
	return probe.Target{
		Node: t.Node, Pod: pod, Gateway: handoff.GatewayAddress(t.Subnet), Underlay: t.Underlay, Direct: t.Direct,
	}
}

// urgency says how an entry is to be asked.
type urgency int

const (
	never urgency = iota
	watch         // within the small budget
	renew         // within the large one, after the others: it says nothing new of what the node sends with
	prove         // within the large one
	trust         // within the large one, before the others: routes in force depend on it
)

// urgencyOf says whether an entry must be asked at all.
func (l *ledger) urgencyOf(e *entry) urgency {
	if e.noPath != "" {
		return never
	}
	switch e.key.Kind {
	case desired.ProbeCurrent:
		if e.checking || !e.proven && (l.want.Previous != "" || l.want.Gate && l.sample[e.key.Node]) {
			return trust
		}
	case desired.ProbeRoutes:
		switch {
		case l.doubtsTrial(e):
			return trust
		case e.key.Revision != l.want.Transmit && (!e.proven || e.failures > 0):
			return prove
		case !e.proven:
			return renew
		case e.key.Revision != l.want.Transmit && l.want.Previous == "":
			return watch // a rollout may be held for days, and then go by what was found
		}
	case desired.ProbeDirect:
		switch {
		case l.doubtsTrial(e), e.proven && e.failures > 0:
			return trust
		case e.proven && e.key.Revision != l.want.Transmit && l.want.Previous != "":
			return never
		case !e.proven && e.failures < failingAfter:
			return prove
		}
		return watch
	}
	return never
}

// current is the entry of a node over the routes in force, or nil.
func (l *ledger) current(node string) *entry {
	for _, e := range l.byPeer[node] {
		if e.key.Kind == desired.ProbeCurrent {
			return e
		}
	}
	return nil
}

// take returns an entry to be asked now, marked as being asked, or nil and when to come again; never means not before set or
// answer is called.
func (l *ledger) take(now time.Time) (e *entry, wait time.Duration) {
	wait = forever
	var best *entry
	bestUrgency, seen := never, 0
	for _, e := range l.entries { // in random order, as the language has it
		if seen++; best != nil && seen > maxSearched {
			break
		}
		if e.inFlight {
			continue
		}
		u := l.urgencyOf(e)
		if u == never {
			continue
		}
		ready := l.nextProve
		if u == watch {
			ready = l.nextWatch
		}
		if e.due.After(ready) {
			ready = e.due
		}
		if d := ready.Sub(now); d > 0 {
			wait = min(wait, d)
		} else if u > bestUrgency {
			best, bestUrgency = e, u
		}
	}
	if best == nil {
		return nil, wait
	}
	if bestUrgency == watch {
		l.nextWatch = now.Add(watchPace)
	} else {
		l.nextProve = now.Add(provePace)
	}
	best.inFlight, best.asked = true, now
	return best, 0
}

// forever is longer than anything that is waited for.
const forever = time.Hour

// answer takes up what came of asking. It says whether the entry is to be diagnosed: it fails, and nobody knows why.
func (l *ledger) answer(e *entry, a probe.Answer, now time.Time) (diagnose bool) {
	if a.OK && e.held(now) {
		e.answered, e.rtt, e.misses, e.trialMisses, e.due = now, a.RTT, 0, 0, now.Add(jitter(recheckEvery))
		return false
	}
	if a.OK {
		e.proven, e.answered, e.rtt = true, now, a.RTT
		e.failures, e.misses, e.trialMisses, e.suspect, e.finding = 0, 0, 0, false, probe.Finding{}
		e.due = now.Add(jitter(recheckEvery))
		l.checked(e, true)
		return false
	}
	e.misses++
	e.trialMisses++
	if !a.Unprepared {
		e.failures++
	}
	if e.failures >= e.patience() {
		e.lose(now)
	}
	e.due = now.Add(jitter(backoff(e.misses)))
	if e.failed = now; e.key.Kind == desired.ProbeCurrent && l.want.Previous != "" {
		l.suspect(e, now)
	}
	l.checked(e, false)
	return !a.Unprepared && e.failing()
}

// backoff is the pause after so many asks in a row that proved nothing.
func backoff(misses int) time.Duration {
	return min(askAgain<<min(max(misses, 1)-1, 10), askAgainMax)
}

// distrust forgets that a revision reached peers: the routes in force showed that it does not.
func (l *ledger) distrust(revision string, peers []v1alpha1.FailingPeer, now time.Time) {
	for _, p := range peers {
		for _, e := range l.byPeer[p.Node] {
			if e.key.Revision == revision && e.key.Kind != desired.ProbeCurrent {
				e.proven, e.failures, e.misses, e.due = false, 0, 0, now
			}
		}
	}
}

// setSample chooses the peers that a node which joins asks, and keeps those that it has.
func (l *ledger) setSample() {
	if !l.want.Gate || len(l.want.Probes) == 0 {
		l.sample = nil
		return
	}
	targets := l.want.Probes[0].Targets
	kept := map[string]bool{}
	for _, t := range targets {
		if l.sample[t.Node] {
			kept[t.Node] = true
		}
	}
	for _, i := range rand.Perm(len(targets)) {
		if len(kept) >= maxSampled {
			break
		}
		kept[targets[i].Node] = true
	}
	l.sample = kept
}
