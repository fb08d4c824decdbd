package controllers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// historyLength is how many revisions status remembers.
const historyLength = 10

// attempt is a try at a revision: the present one.
type attempt struct {
	revision   plan.Revision
	generation int64
	// started is when it was taken up; ended is when the outcome was known, if it is.
	started, ended time.Time
	outcome        v1alpha1.RevisionOutcome
	message        string
}

// attempt reads the present try from the step.
func (p *pass) attempt() attempt {
	s := p.step.Status
	a := attempt{revision: p.target, generation: p.rolloutInput().Generation, started: p.now, ended: p.now}
	if s.StartedAt != nil && s.Target == p.target.ID {
		a.started = s.StartedAt.Time
	}
	switch {
	case s.Failure != nil && s.Failure.Revision == p.target.ID:
		a.outcome, a.message = v1alpha1.OutcomeFailed, s.Failure.Message
	case s.Verified && p.effective.Rollout.VerifyOnly:
		a.outcome = v1alpha1.OutcomeVerified
	case completed(p.step, p.target.ID):
		a.outcome = v1alpha1.OutcomeCompleted
		if s.CompletedAt != nil {
			a.ended = s.CompletedAt.Time
		}
	default:
		a.outcome = v1alpha1.OutcomeInProgress
	}
	return a
}

// completed says that the target is all there is.
func completed(s rollout.Step, target string) bool {
	return s.Status.Phase == v1alpha1.PhaseSettled && len(s.Revisions) == 1 && s.Revisions[0].ID == target
}

// remember returns the history, newest first, with the present try in it. known says that the user asked for the revision just
// now; what is merely still in effect, because a later spec was refused, is no try of its own.
func (a attempt) remember(history []v1alpha1.RevisionRecord, known bool) []v1alpha1.RevisionRecord {
	out := append([]v1alpha1.RevisionRecord(nil), history...)
	if len(out) > 0 {
		last := &out[0]
		same := last.Revision == a.revision.ID
		switch {
		case same && last.EndedAt == nil:
			a.end(last)
			return out
		case same && !a.anew(*last):
			return out
		case !known:
			return out
		case last.EndedAt == nil:
			attempt{outcome: v1alpha1.OutcomeSuperseded, ended: a.started}.end(last)
		}
	}
	record := v1alpha1.RevisionRecord{
		Revision: a.revision.ID, Generation: a.generation, Backend: a.revision.Backend.API(), MTU: int32(a.revision.MTU),
		StartedAt: second(a.started),
	}
	a.end(&record)
	out = append([]v1alpha1.RevisionRecord{record}, out...)
	return out[:min(len(out), historyLength)]
}

// anew says that the present try of a revision is not the one that the record tells of, which has ended.
func (a attempt) anew(last v1alpha1.RevisionRecord) bool {
	switch a.outcome {
	case v1alpha1.OutcomeInProgress:
		return last.Outcome != v1alpha1.OutcomeCompleted || !last.StartedAt.Equal(second(a.started))
	case v1alpha1.OutcomeCompleted:
		return false // nothing is under way
	}
	return last.Outcome != a.outcome
}

func (a attempt) end(r *v1alpha1.RevisionRecord) {
	r.Outcome, r.Message = a.outcome, clip(a.message, 1024)
	if a.outcome != v1alpha1.OutcomeInProgress {
		r.EndedAt = second(a.ended)
	}
}

// second is a time as status keeps it.
func second(t time.Time) *metav1.Time {
	out := metav1.NewTime(t).Rfc3339Copy()
	return &out
}
