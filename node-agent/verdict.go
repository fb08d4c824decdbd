package nodeagent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// results are what follows from the ledger.
type results struct {
	// Direct names, by revision, the nodes to which the direct path is proven.
	Direct map[string]map[string]bool
	// Trial is what is known of the revision on trial.
	Trial trial
	// Verifications are the API's, sorted by revision.
	Verifications []v1alpha1.Verification
	// Admitted says that enough peers answer for a node that joins.
	Admitted bool
	// Check is the result of the last check that is done, or nil.
	Check *v1alpha1.CheckResult
}

// results sums up the ledger.
func (l *ledger) results() results {
	return results{
		Direct: l.direct(), Trial: l.trial(), Verifications: l.verifications(), Admitted: l.admitted(), Check: l.check.result,
	}
}

// direct names the nodes to which a direct path is proven, those that an earlier process found included.
func (l *ledger) direct() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for revision, nodes := range l.assumed {
		out[revision] = maps.Clone(nodes)
	}
	for _, e := range l.entries {
		if e.key.Kind == desired.ProbeDirect && e.proven {
			if out[e.key.Revision] == nil {
				out[e.key.Revision] = map[string]bool{}
			}
			out[e.key.Revision][e.key.Node] = true
		}
	}
	return out
}

// trial judges the revision in force by the peers: all that answer over the one it took the place of must answer.
func (l *ledger) trial() trial {
	if l.want.Previous == "" {
		return trial{}
	}
	t := trial{From: l.want.Previous, To: l.want.Transmit, Reached: true}
	if len(l.want.Probes) == 0 {
		return t // a subnet too small to probe from: nothing can be proven
	}
	for _, target := range l.want.Probes[0].Targets {
		current := l.current(target.Node)
		switch {
		case current.proven:
		case current.noPath == "" && current.failures < failingAfter:
			t.Reached = false
		default:
			switch l.previously(current) {
			case answers:
				t.Failing = append(t.Failing, current.report())
				t.Reached = false
			case unknown:
				t.Reached = false
			case dead: // over both: that says nothing of the revision
			}
		}
	}
	return t
}

// liveness is what is known of a peer over the revision that was left.
type liveness int

const (
	unknown liveness = iota
	answers
	dead
)

// previously says what is known of a peer over the paths that the revision on trial took the place of. That it answers tells
// against the revision only if it was there before and after an ask that failed: a peer whose agent starts anew answers nothing
// for a moment, over either.
func (l *ledger) previously(current *entry) liveness {
	out := dead
	for _, e := range l.byPeer[current.key.Node] {
		switch {
		case e.key.Revision != l.want.Previous || e.key.Kind == desired.ProbeCurrent || e.noPath != "":
		case l.sure(current, e):
			if current.noPath != "" || current.suspect {
				return answers
			}
			out = unknown // the next ask tells
		case e.trialMisses < failingAfter:
			out = unknown
		}
	}
	return out
}

// sure says that a path which was left answered since the revision is on trial, and since the peer failed over the one in force.
func (l *ledger) sure(current, left *entry) bool {
	return left.answered.After(l.trialSince) && (current.noPath != "" || left.answered.After(current.failed))
}

// suspect notes that a peer failed over the routes on trial: whether it is there is asked again, over the paths that were left.
func (l *ledger) suspect(current *entry, now time.Time) {
	for _, e := range l.byPeer[current.key.Node] {
		if e.key.Revision == l.want.Previous && e.key.Kind != desired.ProbeCurrent {
			current.suspect = current.suspect || e.answered.After(l.trialSince) && !e.answered.After(current.asked)
			if e.trialMisses < failingAfter {
				e.due = now
			}
		}
	}
}

// doubtsTrial says that an entry is a path that the revision on trial took the place of, to a peer that is not reached any
// more: whether that path still works tells a dead peer from a bad revision.
func (l *ledger) doubtsTrial(e *entry) bool {
	if l.want.Previous == "" || e.key.Revision != l.want.Previous || e.trialMisses >= failingAfter {
		return false
	}
	current := l.current(e.key.Node)
	return current != nil && !current.proven && (current.noPath != "" || current.failures > 0) && !l.sure(current, e)
}

// verifications say, by revision, which peers are proven to be reached over its own paths.
func (l *ledger) verifications() []v1alpha1.Verification {
	var out []v1alpha1.Verification
	for _, p := range l.want.Probes {
		if p.Kind != desired.ProbeRoutes {
			continue
		}
		v := v1alpha1.Verification{Revision: p.Revision, Peers: int32(len(p.Targets))}
		for _, t := range p.Targets {
			l.verify(&v, t.Node)
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b v1alpha1.Verification) int { return cmp.Compare(a.Revision, b.Revision) })
	return out[:min(len(out), maxVerifications)]
}

// maxVerifications is the API's limit.
const maxVerifications = 3

// verify adds one peer to a revision's verification.
func (l *ledger) verify(v *v1alpha1.Verification, node string) {
	var routes, direct *entry
	for _, e := range l.byPeer[node] {
		switch {
		case e.key.Revision != v.Revision:
		case e.key.Kind == desired.ProbeRoutes:
			routes = e
		case e.key.Kind == desired.ProbeDirect:
			direct = e
		}
	}
	switch {
	case routes.proven:
		v.Verified++
		if direct != nil && direct.failing() && direct.explained() {
			v.EncapsulatedCount++
			if len(v.Encapsulated) < maxListed {
				v.Encapsulated = append(v.Encapsulated, direct.report())
			}
		}
	case routes.failing() && routes.explained():
		v.FailingCount++
		if len(v.Failing) < maxListed {
			v.Failing = append(v.Failing, routes.report())
		}
	}
}

// explained says that it is known why the entry fails: before, it is not worth a report that the next one corrects.
func (e *entry) explained() bool { return e.noPath != "" || e.finding.Reason != "" }

// admitted says that at least half of the peers asked answer. One that answers none of most peers is to blame itself.
func (l *ledger) admitted() bool {
	if !l.want.Gate {
		return false
	}
	reached := 0
	for node := range l.sample {
		if e := l.current(node); e != nil && e.proven {
			reached++
		}
	}
	return reached*2 >= len(l.sample)
}

// checkRound is a check that a user asked for.
type checkRound struct {
	// request is the last one taken up, running says that it is not done.
	request string
	running bool
	started time.Time
	result  *v1alpha1.CheckResult
}

// setCheck begins a check that is new, and drops what peers that have gone would have answered.
func (l *ledger) setCheck(now time.Time) {
	if l.want.Check == "" || l.want.Check == l.check.request {
		l.finishCheck(now)
		return
	}
	l.check.request, l.check.running, l.check.started = l.want.Check, true, now
	for _, e := range l.entries {
		if e.key.Kind == desired.ProbeCurrent && e.noPath == "" {
			e.checking, e.checkMisses, e.due = true, 0, now
		}
	}
	l.finishCheck(now)
}

// checked takes up what a peer said to a check.
func (l *ledger) checked(e *entry, reached bool) {
	if !e.checking {
		return
	}
	e.checkMisses++
	e.checking = !reached && e.checkMisses < failingAfter
}

// finishCheck sums up a check whose peers have all answered or been given up.
func (l *ledger) finishCheck(now time.Time) {
	if !l.check.running || len(l.want.Probes) == 0 {
		return
	}
	result := &v1alpha1.CheckResult{Request: l.check.request, FinishedAt: metav1.NewTime(now.Truncate(time.Second))}
	var times []time.Duration
	for _, t := range l.want.Probes[0].Targets {
		e := l.current(t.Node)
		if e.checking || e.inFlight {
			return
		}
		result.Peers++
		if e.noPath == "" && !e.answered.Before(l.check.started) {
			result.Reached++
			times = append(times, e.rtt)
		} else if len(result.Failing) < maxListed {
			result.Failing = append(result.Failing, e.report())
		}
	}
	if n := len(times); n > 0 {
		slices.Sort(times)
		result.MedianMicroseconds, result.SlowestMicroseconds = times[n/2].Microseconds(), times[n-1].Microseconds()
	}
	l.check.running, l.check.result = false, result
}

// material is the part of the results that something follows from: a change is worth a pass. Progress is not.
func (r results) material() results {
	out := r
	out.Verifications = slices.Clone(r.Verifications)
	for i := range out.Verifications {
		if v := &out.Verifications[i]; v.Verified < v.Peers {
			v.Verified = 0
		}
	}
	return out
}
