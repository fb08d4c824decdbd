package rollout

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hopsack-net/hopsack/internal/plan"
)

// Stage is how far a change of revision is.
type Stage string

// Values of Stage.
const (
	// Settled: there is one revision, and every node sends with it.
	Settled Stage = "Settled"
	// Preparing: every node is asked to receive the target beside what it has; nobody sends with it yet.
	Preparing Stage = "Preparing"
	// Switching: every node can receive the target and is asked to send with it.
	Switching Stage = "Switching"
	// Cleaning: every node was asked to send with the target; what else is received goes when all have confirmed.
	Cleaning Stage = "Cleaning"
)

// Step is what every NodeNetwork must say now.
type Step struct {
	Stage Stage
	// Revisions are what every node must be able to receive, in the order of their names.
	Revisions []plan.Revision
	// Target is where the change goes. Source is what nodes send with that have not been moved: the target itself, from
	// Switching on.
	Target, Source string
	// Waiting lists the nodes whose report is missing for the next step, sorted.
	Waiting []string
	// Prepared and Switched count the nodes that receive, and send with, the target.
	Prepared, Switched int
}

// Transmit is what a node must send with that was asked to send with current, "" for a new one.
func (s Step) Transmit(current string) string {
	if s.Stage == Preparing && slices.ContainsFunc(s.Revisions, func(r plan.Revision) bool { return r.ID == current }) {
		return current
	}
	return s.Source
}

// Next finds the step from what the NodeNetworks say and what their agents report. Nodes without a subnet in use neither send
// nor receive, so nobody waits for them.
func Next(target plan.Revision, nodes map[string]plan.NodeNetwork) Step {
	live := map[string]plan.Revision{target.ID: target}
	senders := map[string]int{}
	step := Step{Target: target.ID, Source: target.ID}
	var unprepared, unswitched []string
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		if !n.InUse() {
			continue
		}
		for _, r := range n.Revisions {
			if _, ok := live[r.ID]; !ok {
				live[r.ID] = r
			}
		}
		if n.Has(n.Transmit) { // else it is not rendered yet, or damaged: its agent refuses it, so there is nothing to wait for
			senders[n.Transmit]++
		}
		if received(n, target.ID) {
			step.Prepared++
		} else {
			unprepared = append(unprepared, name)
		}
		if sent(n, target.ID) {
			step.Switched++
		} else {
			unswitched = append(unswitched, name)
		}
	}
	step.Revisions = slices.SortedFunc(maps.Values(live), func(a, b plan.Revision) int { return cmp.Compare(a.ID, b.ID) })
	moved := len(senders) == 0 || len(senders) == 1 && senders[target.ID] > 0
	switch {
	case moved && len(live) == 1:
		step.Stage = Settled
	case moved && len(unswitched) == 0:
		step.Stage, step.Revisions = Settled, []plan.Revision{target}
	case moved:
		step.Stage, step.Waiting = Cleaning, unswitched
	case len(unprepared) == 0:
		step.Stage, step.Waiting = Switching, unswitched
	default:
		step.Stage, step.Waiting, step.Source = Preparing, unprepared, mostSent(senders, target.ID)
	}
	return step
}

// received says that the node's agent reported, for the spec it has now, that it can receive the revision.
func received(n plan.NodeNetwork, id string) bool {
	return n.Has(id) && n.Report.Known && n.Report.Current && slices.Contains(n.Report.Prepared, id)
}

// sent says the same of sending.
func sent(n plan.NodeNetwork, id string) bool {
	return n.Transmit == id && n.Report.Known && n.Report.Current && n.Report.Transmit == id
}

// mostSent is the revision, other than the target, that most nodes were asked to send with.
func mostSent(senders map[string]int, target string) string {
	best := ""
	for _, id := range slices.Sorted(maps.Keys(senders)) {
		if id != target && (best == "" || senders[id] > senders[best]) {
			best = id
		}
	}
	return best
}
