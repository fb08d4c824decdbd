package controllers

import (
	"fmt"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// fillRollout brings the part of status up to date that tells of rollouts.
func (p *pass) fillRollout(s *v1alpha1.NetworkConfigStatus) {
	effective := p.inEffect().Effective()
	s.Effective = &effective
	s.Rollout = p.step.Status.DeepCopy()
	s.ActiveRevision, s.TargetRevision = p.step.Active, p.target.ID
	switch s.Rollout.Phase {
	case v1alpha1.PhaseSettled:
		s.TargetRevision = s.ActiveRevision
	case v1alpha1.PhaseRollingBack:
		s.TargetRevision = p.destination().ID
	}
	s.Nodes.Live, s.Nodes.Prepared = int32(p.step.Live), int32(p.step.Prepared)
	s.Nodes.Verified, s.Nodes.Switched = int32(p.step.Verified), int32(p.step.Switched)
	s.FailingPairs, s.FailingPairCount = p.step.FailingPairs, int32(p.step.FailingPairCount)
	s.EncapsulatedPairs, s.EncapsulatedPairCount = p.step.EncapsulatedPairs, int32(p.step.EncapsulatedPairCount)
	s.History = p.attempt().remember(s.History, p.refusal == nil)
}

// movingMessage says what nodes are doing.
func (p *pass) movingMessage() *plan.Problem {
	s := p.step.Status
	var doing string
	switch s.Phase {
	case v1alpha1.PhasePreparing:
		doing = fmt.Sprintf("nodes are preparing to receive %s, %d of %d are done", p.target, p.step.Prepared, p.step.Live)
	case v1alpha1.PhaseVerifying:
		doing = fmt.Sprintf("nodes are verifying %s, %d of %d are done", p.target, p.step.Verified, p.step.Live)
	case v1alpha1.PhaseSwitching:
		doing = fmt.Sprintf("nodes are switching to %s, %d of %d are done", p.target, p.step.Switched, p.step.Live)
	case v1alpha1.PhaseRollingBack:
		to := p.destination()
		doing = fmt.Sprintf("nodes are going back to %s", to)
	default:
		doing = fmt.Sprintf("nodes are dropping what revision %s replaced", p.destination().ID)
	}
	return &plan.Problem{Reason: v1alpha1.ReasonRollingOut, Message: doing + waiting(s)}
}

// waiting names who a rollout waits for.
func waiting(s v1alpha1.RolloutStatus) string {
	switch {
	case len(s.WaitingFor) == 0:
		return ""
	case s.WaitingCount <= 1:
		return ": waiting for " + s.WaitingFor[0]
	}
	return fmt.Sprintf(": waiting for %d nodes, %s among them", s.WaitingCount, s.WaitingFor[0])
}

// pausedMessage says where a rollout was held, or is nil.
func (p *pass) pausedMessage() *plan.Problem {
	s := p.step.Status
	if !s.Paused {
		return nil
	}
	return &plan.Problem{Reason: v1alpha1.ReasonRolloutPaused, Message: fmt.Sprintf(
		"the annotation %s holds the change to %s in phase %s: %d of %d nodes send with it",
		v1alpha1.PausedAnnotation, p.target, s.Phase, p.step.Switched, p.step.Live)}
}

// verifiedMessage says what a dry run found, or is nil.
func (p *pass) verifiedMessage() *plan.Problem {
	if s := p.step.Status; !s.Verified || s.Phase != v1alpha1.PhaseSettled || !p.effective.Rollout.VerifyOnly {
		return nil
	}
	return &plan.Problem{Reason: v1alpha1.ReasonVerified, Message: fmt.Sprintf(
		"%s was proven between all %d nodes and not put into effect, as spec.rollout.strategy is VerifyOnly",
		p.target, p.step.Live)}
}
