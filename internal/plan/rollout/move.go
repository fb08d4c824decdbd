package rollout

import (
	"slices"

	"github.com/hopsack-net/hopsack/internal/plan"
)

// move says what every node must send with.
func (v *view) move(g goal, step *Step) {
	receives := func(id string) bool {
		return slices.ContainsFunc(step.Revisions, func(r plan.Revision) bool { return r.ID == id })
	}
	for name := range v.Cluster.Nodes {
		step.Transmit[name] = step.Active
	}
	for _, m := range v.waited {
		if m.Has(m.Transmit) && receives(m.Transmit) {
			step.Transmit[m.name] = m.Transmit
		}
		if m.failed(m.Transmit) && v.remembered() && receives(g.source) {
			step.Transmit[m.name] = g.source
		}
	}
	if !g.move || v.Paused && !g.atOnce {
		return
	}
	for _, m := range v.movable(g) {
		step.Transmit[m.name] = g.dest
	}
}

// movable are the nodes to be moved now: canaries first, then those that are live, then the others.
func (v *view) movable(g goal) []*member {
	var rest []*member
	onMove, canaries := 0, false
	for _, m := range v.waited {
		switch {
		case m.Transmit != g.dest:
			rest = append(rest, m)
			if m.Report.Known && m.Report.Transmit != "" && m.Report.Transmit != m.Transmit && !m.failed(m.Transmit) {
				onMove++
			}
		case !m.confirmed():
			onMove++
		}
		if v.canary(m) && m.live && !m.at(g.dest) {
			canaries = true
		}
	}
	if g.atOnce {
		return rest
	}
	if canaries {
		rest = slices.DeleteFunc(rest, func(m *member) bool { return !v.canary(m) })
	}
	slices.SortStableFunc(rest, func(a, b *member) int { return last(!a.live) - last(!b.live) })
	return rest[:min(len(rest), max(0, v.Policy.Concurrent(len(v.waited))-onMove))]
}

func last(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (v *view) canary(m *member) bool { return v.Policy.IsCanary(m.node.Labels) }

// admit finds the nodes that may be published: they have prepared every live revision, and what they send is in use already or
// prepared by all others.
func (v *view) admit(step *Step) {
	step.Admit = map[string]bool{}
	if !v.fenced {
		return
	}
	open := map[string]bool{}
	for _, r := range step.Revisions {
		open[r.ID] = v.inUse(r.ID) || v.all(func(m *member) bool { return m.received(r.ID) || !m.live })
	}
	for _, m := range v.members {
		ready := open[m.Transmit] && open[step.Transmit[m.name]]
		for _, r := range step.Revisions {
			ready = ready && m.received(r.ID)
		}
		if ready {
			step.Admit[m.name] = true
		}
	}
}

// tally counts.
func (v *view) tally(g goal, step *Step) {
	target := v.Target.ID
	step.Live = v.count(func(m *member) bool { return m.live })
	// A node that was just asked to send with it had been prepared and proven before: counts that fall and rise again alarm.
	step.Prepared = v.count(func(m *member) bool { return m.received(target) || m.asked(target) })
	step.Switched = v.count(func(m *member) bool { return m.at(target) })
	step.Verified = v.count(func(m *member) bool { return m.at(target) || m.asked(target) || v.complete(m, target) })
	step.FailingPairs, step.FailingPairCount = firstPairs(g.proof.failing), g.proof.count
	seen := target
	if _, ok := v.carried[target]; !ok {
		seen = step.Active
	}
	step.EncapsulatedPairs, step.EncapsulatedPairCount = v.encapsulated(seen)
}
