package rollout

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// Next finds the step from what the NodeNetworks say and what their agents report. Nodes without a subnet in use neither send
// nor receive, so nobody waits for them.
func Next(in Input) Step {
	live := map[string]plan.Revision{in.Target.ID: in.Target}
	senders := map[string]int{}
	step := Step{Active: in.Target.ID, Transmit: map[string]string{}, Status: v1alpha1.RolloutStatus{Target: in.Target.ID}}
	var unprepared, unswitched []string
	for _, name := range slices.Sorted(maps.Keys(in.Cluster.Nodes)) {
		n := in.Cluster.NodeNetworks[name]
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
		if received(n, in.Target.ID) {
			step.Prepared++
		} else {
			unprepared = append(unprepared, name)
		}
		if sent(n, in.Target.ID) {
			step.Switched++
		} else {
			unswitched = append(unswitched, name)
		}
	}
	step.Revisions = slices.SortedFunc(maps.Values(live), func(a, b plan.Revision) int { return cmp.Compare(a.ID, b.ID) })
	moved := len(senders) == 0 || len(senders) == 1 && senders[in.Target.ID] > 0
	switch {
	case moved && len(live) == 1:
		step.Status.Phase = v1alpha1.PhaseSettled
	case moved && len(unswitched) == 0:
		step.Status.Phase, step.Revisions = v1alpha1.PhaseSettled, []plan.Revision{in.Target}
	case moved:
		step.Status.Phase, step.Status.WaitingFor = v1alpha1.PhaseCleaning, unswitched
	case len(unprepared) == 0:
		step.Status.Phase, step.Status.WaitingFor = v1alpha1.PhaseSwitching, unswitched
	default:
		step.Status.Phase, step.Status.WaitingFor, step.Active = v1alpha1.PhasePreparing, unprepared, mostSent(senders, in.Target.ID)
	}
	for name := range in.Cluster.Nodes {
		step.Transmit[name] = step.Active
		if current := in.Cluster.NodeNetworks[name].Transmit; live[current].ID != "" && step.Status.Phase == v1alpha1.PhasePreparing {
			step.Transmit[name] = current
		}
	}
	step.Status.WaitingCount = int32(len(step.Status.WaitingFor))
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
