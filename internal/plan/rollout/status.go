package rollout

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// verifyGrace is how long pairs may fail before that is said: agents that prepared early have probed peers that were not
// ready, and probe again within 5 s at the latest.
const verifyGrace = 6 * time.Second

// remember fills in the status. Times stay as they were while nothing changes, so that a step that changes nothing writes
// nothing.
func (v *view) remember(g goal, step *Step) {
	past, now := v.Past, v.stamp()
	s := v1alpha1.RolloutStatus{
		Generation: v.Generation, Phase: g.phase, Source: g.source, Target: v.Target.ID,
		WaitingFor: limit(g.waiting), WaitingCount: int32(len(g.waiting)),
		StartedAt: past.StartedAt, PhaseStartedAt: past.PhaseStartedAt, ProgressedAt: past.ProgressedAt, CompletedAt: past.CompletedAt,
		Failure: g.failure, Verified: g.verified,
	}
	settled, was := g.phase == v1alpha1.PhaseSettled, past.Phase == v1alpha1.PhaseSettled
	s.Paused = v.Paused && !settled
	if settled && was && past.Target == s.Target && !g.verified && g.failure == nil {
		s.Generation = past.Generation // the one that asked for it, not one that changed something else
	}
	if s.Source == "" && past.Target == s.Target { // all have left it
		s.Source = past.Source
	}
	if !settled && (past.Target != s.Target || was || past.Phase == "") {
		s.StartedAt, s.CompletedAt, s.ProgressedAt, s.PhaseStartedAt = now, nil, now, now
	}
	if past.Phase != s.Phase {
		s.PhaseStartedAt, s.ProgressedAt = now, now
		if settled && !was && past.Phase != "" {
			s.CompletedAt = now
		}
	}
	if past.WaitingCount > s.WaitingCount || past.Paused && !s.Paused {
		s.ProgressedAt = now
	}
	for _, m := range v.members {
		if m.abandoned && !m.at(g.dest) {
			s.Abandoned = append(s.Abandoned, m.name)
		}
	}
	s.Abandoned = limit(s.Abandoned)
	if len(s.Abandoned) != len(past.Abandoned) && !settled {
		s.ProgressedAt = now
	}
	step.Status = s
}

// stamp is the present time as status holds it.
func (v *view) stamp() *metav1.MicroTime {
	t := metav1.NewMicroTime(v.Now.Truncate(time.Microsecond))
	return &t
}

// limit sorts names and leaves out those that status has no room for.
func limit(names []string) []string {
	names = slices.Sorted(slices.Values(names))
	return names[:min(len(names), maxListed)]
}

// stall says why the rollout does not go on by itself.
func (v *view) stall(g goal, step *Step) {
	s := step.Status
	switch {
	case g.failure != nil && g.failure.Policy == v1alpha1.FailurePause:
		step.Stalled = &plan.Problem{Reason: v1alpha1.ReasonSwitchFailed, Message: v.failedMessage(g)}
	case g.failure != nil:
		step.Stalled = &plan.Problem{Reason: v1alpha1.ReasonRolledBack, Message: v.failedMessage(g)}
	case s.Phase == v1alpha1.PhaseSettled || s.Paused:
	case len(g.proof.failing) > 0 && (g.proof.hopeless || v.since(s.PhaseStartedAt) >= verifyGrace):
		step.Stalled = &plan.Problem{Reason: v1alpha1.ReasonVerificationFailed, Message: v.unprovenMessage(g)}
	case v.since(s.ProgressedAt) >= v.Policy.ProgressDeadline:
		step.Stalled = &plan.Problem{Reason: v1alpha1.ReasonProgressDeadlineExceeded, Message: v.lateMessage(g)}
	}
}

// since is how long ago a time was, 0 where there is none.
func (v *view) since(t *metav1.MicroTime) time.Duration {
	if t == nil {
		return 0
	}
	return v.Now.Sub(t.Time)
}

// wake finds when time alone changes the step.
func (v *view) wake(g goal, step *Step) {
	s := step.Status
	if s.Phase == v1alpha1.PhaseSettled {
		return
	}
	at := func(t time.Time) {
		if t.After(v.Now) && (step.Wake.IsZero() || t.Before(step.Wake)) {
			step.Wake = t
		}
	}
	if s.ProgressedAt != nil && !s.Paused {
		at(s.ProgressedAt.Add(v.Policy.ProgressDeadline))
	}
	if len(g.proof.failing) > 0 && s.PhaseStartedAt != nil {
		at(s.PhaseStartedAt.Add(verifyGrace))
	}
	if g.failure != nil && !v.remembered() {
		at(v.Now.Add(time.Second))
	}
	for _, m := range v.members {
		if m.node.Ready || m.node.ReadyChanged.IsZero() {
			continue
		}
		at(m.node.ReadyChanged.Add(notLiveAfter + time.Millisecond))
		if v.Policy.AbandonAfter > 0 {
			at(m.node.ReadyChanged.Add(v.Policy.AbandonAfter))
		}
	}
}
