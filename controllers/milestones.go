package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Reasons of the events that tell how a rollout goes. What stalls one is told by the event of the condition Stalled.
const (
	eventStarted   = "RolloutStarted"
	eventVerified  = "RolloutVerified"
	eventSwitching = "RolloutSwitching"
	eventBack      = "RolloutRollingBack"
	eventCompleted = "RolloutCompleted"
	eventPaused    = "RolloutPaused"
	eventResumed   = "RolloutResumed"
	eventAbandoned = "NodesAbandoned"
)

// milestoneReasons are the reasons of the condition Ready that these events tell of.
var milestoneReasons = []string{v1alpha1.ReasonRollingOut, v1alpha1.ReasonRolloutPaused, v1alpha1.ReasonVerified}

// milestone is an event to be.
type milestone struct {
	reason, message string
	warning         bool
}

// milestones records an event for each point that the rollout passed between two versions of status.
func (p *pass) milestones(before, after *v1alpha1.NetworkConfig) {
	for _, m := range p.passed(before.Status.Rollout, after.Status.Rollout) {
		eventType := corev1.EventTypeNormal
		if m.warning {
			eventType = corev1.EventTypeWarning
		}
		p.r.Events.Eventf(after, nil, eventType, m.reason, "Rollout", "%s", clip(m.message, 1000))
	}
}

// passed lists the milestones between two versions of status; either may be nil.
func (p *pass) passed(before, after *v1alpha1.RolloutStatus) []milestone {
	if after == nil || p.effective == nil {
		return nil
	}
	if before == nil {
		before = &v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseSettled, StartedAt: after.StartedAt}
	}
	var out []milestone
	add := func(reason, format string, args ...any) {
		out = append(out, milestone{reason: reason, message: fmt.Sprintf(format, args...)})
	}
	what := p.target.String()
	busy := after.Phase != v1alpha1.PhaseSettled
	if busy && (before.Phase == v1alpha1.PhaseSettled || before.Target != after.Target || !sameTime(before.StartedAt, after.StartedAt)) &&
		after.Phase != v1alpha1.PhaseRollingBack {
		from := ""
		if after.Source != "" {
			from = " from revision " + after.Source
		}
		add(eventStarted, "moving %d nodes%s to %s", p.step.Live, from, what)
	}
	if !before.Verified && after.Verified {
		add(eventVerified, "%s was proven between all %d nodes", what, p.step.Live)
	}
	if after.Phase == v1alpha1.PhaseSwitching && before.Phase != v1alpha1.PhaseSwitching {
		if !after.Verified {
			add(eventVerified, "%s was proven between all %d nodes", what, p.step.Live)
		}
		add(eventSwitching, "nodes begin to send with %s", what)
	}
	if after.Phase == v1alpha1.PhaseRollingBack && before.Phase != v1alpha1.PhaseRollingBack {
		to := p.destination()
		add(eventBack, "nodes go back to %s: %s", to, failureMessage(after.Failure))
		out[len(out)-1].warning = true
	}
	if !busy && before.Phase != v1alpha1.PhaseSettled && completed(p.step, p.target.ID) {
		add(eventCompleted, "%d nodes send with %s%s", p.step.Live, what, took(after))
	}
	switch {
	case after.Paused && !before.Paused:
		add(eventPaused, "the annotation %s holds the change to %s", v1alpha1.PausedAnnotation, what)
	case !after.Paused && before.Paused && busy:
		add(eventResumed, "the change to %s goes on", what)
	}
	if len(after.Abandoned) > 0 && !slices.Equal(before.Abandoned, after.Abandoned) {
		add(eventAbandoned, "the change to %s goes on without %s, not live for longer than spec.rollout.abandonAfterSeconds",
			what, strings.Join(after.Abandoned, ", "))
		out[len(out)-1].warning = true
	}
	return out
}

func sameTime(a, b *metav1.MicroTime) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}

func failureMessage(f *v1alpha1.RolloutFailure) string {
	if f == nil {
		return "a node failed"
	}
	return fmt.Sprintf("node %s could not use it: %s", f.Node, f.Message)
}

// took says how long a rollout took, where that is known.
func took(s *v1alpha1.RolloutStatus) string {
	if s.StartedAt == nil || s.CompletedAt == nil {
		return ""
	}
	return fmt.Sprintf(" after %s", s.CompletedAt.Sub(s.StartedAt.Time).Round(time.Millisecond))
}

// stallReason is the reason of the condition Stalled when it is a rollout's, else "".
func stallReason(conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue {
		return ""
	}
	switch c.Reason {
	case v1alpha1.ReasonVerificationFailed, v1alpha1.ReasonProgressDeadlineExceeded, v1alpha1.ReasonRolledBack, v1alpha1.ReasonSwitchFailed:
		return c.Reason
	}
	return ""
}
