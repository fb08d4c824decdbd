package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// outcome is what a NetworkConfig says of its latest change.
type outcome string

const (
	outcomeWaiting  outcome = "waiting"  // under way, or not taken up yet
	outcomeDone     outcome = "done"     // every node sends with it, or it was proven and that was all that was asked for
	outcomeStalling outcome = "stalling" // stalled in a way that may pass by itself within seconds
	outcomeSettling outcome = "settling" // every node sends with it, and some node has not said that all is well
	outcomeFailed   outcome = "failed"
	outcomePaused   outcome = "paused"
)

// progress is a NetworkConfig's change at one moment, in words.
type progress struct {
	outcome outcome
	// line says how far it is; it holds no time, so that it changes only when something happens.
	line string
	// brief is line without the sentence of the condition, for where that stands already.
	brief string
	// cause is that sentence, empty where there is none.
	cause string
	// details are further lines: failing pairs.
	details []string
	// elapsed is since the change was taken up, zero where that is not known.
	elapsed time.Duration
}

// shownPairs is how many failing pairs follow a line of progress.
const shownPairs = 5

func newProgress(cfg *v1alpha1.NetworkConfig, now time.Time) progress {
	s := cfg.Status
	var p progress
	r := s.Rollout
	if r == nil {
		r = &v1alpha1.RolloutStatus{}
	}
	if r.StartedAt != nil && underWay(s) {
		p.elapsed = max(0, now.Sub(r.StartedAt.Time))
	}
	if s.ObservedGeneration != cfg.Generation {
		p.outcome = outcomeWaiting
		p.line = fmt.Sprintf("waiting for the controller to take up generation %d (it has seen %d)", cfg.Generation, max(0, s.ObservedGeneration))
		return p
	}
	stalled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if stalled != nil && stalled.Status == metav1.ConditionTrue {
		p.outcome, p.line, p.brief, p.cause = outcomeFailed, describeStall(stalled, r, s), "stalled", stalled.Message
		if underWay(s) && r.Phase != "" {
			p.brief += ": " + describePhase(r, s)
		}
		switch {
		case stalled.Reason == v1alpha1.ReasonVerificationFailed:
			p.outcome = outcomeStalling
		case stalled.Reason == v1alpha1.ReasonRolledBack && r.Phase == v1alpha1.PhaseRollingBack:
			p.outcome = outcomeWaiting // it failed, but is not over: scripts shall not start on a network that still moves
		}
		p.details = describePairs(s.FailingPairs, s.FailingPairCount, shownPairs)
		return p
	}
	switch {
	case underWay(s) && r.Paused:
		p.outcome, p.line = outcomePaused, "paused: "+describePhase(r, s)
	case underWay(s):
		p.outcome, p.line = outcomeWaiting, describePhase(r, s)
		p.details = describePairs(s.FailingPairs, s.FailingPairCount, shownPairs)
	case ready == nil || ready.Status == metav1.ConditionUnknown:
		p.outcome, p.line = outcomeWaiting, "waiting for the controller to say how it stands"
	case r.Verified:
		p.outcome = outcomeDone
		p.line = fmt.Sprintf("verified: revision %s works between all nodes; nothing was changed (strategy VerifyOnly)", r.Target)
	case ready.Status == metav1.ConditionFalse:
		p.outcome, p.line = outcomeSettling, describeSettled(ready, r, s)
	default:
		p.outcome, p.line = outcomeDone, describeSettled(ready, r, s)
	}
	return p
}

// underWay says whether nodes are being moved, or are to be.
func underWay(s v1alpha1.NetworkConfigStatus) bool {
	if s.Rollout != nil && s.Rollout.Phase != "" && s.Rollout.Phase != v1alpha1.PhaseSettled {
		return true
	}
	return s.TargetRevision != s.ActiveRevision && (s.Rollout == nil || !s.Rollout.Verified) ||
		meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionProgressing)
}

func describePhase(r *v1alpha1.RolloutStatus, s v1alpha1.NetworkConfigStatus) string {
	n := s.Nodes
	target := r.Target
	if target == "" {
		target = s.TargetRevision
	}
	line := fmt.Sprintf("revision %s: %s: %d prepared, %d verified, %d switched of %s",
		orNone(target), phaseWord(r.Phase), n.Prepared, n.Verified, n.Switched, plural(n.Live, "live node"))
	if r.WaitingCount > 0 || len(r.WaitingFor) > 0 {
		line += "; waiting for " + names(r.WaitingFor, r.WaitingCount)
	}
	if len(r.Abandoned) > 0 {
		line += "; without " + strings.Join(r.Abandoned, ", ")
	}
	return line
}

func phaseWord(p v1alpha1.RolloutPhase) string {
	words := map[v1alpha1.RolloutPhase]string{
		v1alpha1.PhasePreparing: "preparing", v1alpha1.PhaseVerifying: "verifying", v1alpha1.PhaseSwitching: "switching",
		v1alpha1.PhaseRollingBack: "rolling back", v1alpha1.PhaseCleaning: "cleaning up",
	}
	if w, ok := words[p]; ok {
		return w
	}
	return "starting"
}

func describeStall(c *metav1.Condition, r *v1alpha1.RolloutStatus, s v1alpha1.NetworkConfigStatus) string {
	line := "stalled (" + c.Reason + "): " + c.Message
	if underWay(s) && r.Phase != "" {
		line += " [" + describePhase(r, s) + "]"
	}
	return line
}

func describeSettled(ready *metav1.Condition, r *v1alpha1.RolloutStatus, s v1alpha1.NetworkConfigStatus) string {
	line := fmt.Sprintf("completed: every node sends with revision %s", s.ActiveRevision)
	switch {
	case s.ActiveRevision == "":
		line = "completed: there is nothing to roll out"
	case s.Nodes.Live == 0 && s.Nodes.Total > 0: // a new network: nodes count as live from when their peers know of them
		line = fmt.Sprintf("revision %s is in force, and no node sends with it yet", s.ActiveRevision)
	case s.Nodes.Switched < s.Nodes.Live:
		line = fmt.Sprintf("revision %s is in force: %d of %s send with it", s.ActiveRevision, s.Nodes.Switched, plural(s.Nodes.Live, "live node"))
	}
	if r.StartedAt != nil && r.CompletedAt != nil {
		if took := r.CompletedAt.Sub(r.StartedAt.Time); took > 0 {
			line += fmt.Sprintf(" (the last change took %s)", round(took))
		}
	}
	if len(r.Abandoned) > 0 {
		line += "; without " + strings.Join(r.Abandoned, ", ")
	}
	if ready.Status != metav1.ConditionTrue {
		line += "; not Ready (" + ready.Reason + "): " + ready.Message
	}
	return line
}

// names lists some of count names.
func names(some []string, count int32) string {
	if len(some) == 0 {
		return plural(count, "node")
	}
	shown := slices.Clone(some)
	if more := int(count) - len(some); more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return strings.Join(shown, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func round(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
