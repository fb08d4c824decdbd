package controllers

import (
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// checkLimit is how long a request for a check may be, in characters.
const checkLimit = 64

// rolloutInput is what the next step of a rollout depends on.
func (p *pass) rolloutInput() rollout.Input {
	config := p.snap.config
	in := rollout.Input{
		// Status keeps microseconds: a time that is finer would differ from itself.
		Now: p.now.Truncate(time.Microsecond), Target: p.target, Policy: p.effective.Rollout, Generation: config.Generation,
		Paused: config.Annotations[v1alpha1.PausedAnnotation] == "true", Retry: config.Annotations[v1alpha1.RetryAnnotation],
		Leader: p.r.Fence.Identity, Cluster: p.cluster,
	}
	if past := config.Status.Rollout; past != nil {
		in.Past = *past.DeepCopy()
		if p.refusal != nil {
			in.Generation = past.Generation // a spec that was refused retries nothing
		}
	}
	return in
}

// checkRequest is the check that the user asked for last, cut to what a NodeNetwork takes.
func checkRequest(config *v1alpha1.NetworkConfig) string {
	request := []rune(config.Annotations[v1alpha1.CheckAnnotation])
	return string(request[:min(len(request), checkLimit)])
}

// destination is the revision that nodes end up with as things are: the target, unless it was only tried, or given up.
func (p *pass) destination() plan.Revision {
	s := p.step.Status
	back := p.effective.Rollout.VerifyOnly || s.Phase == v1alpha1.PhaseRollingBack ||
		s.Failure != nil && s.Failure.Revision == p.target.ID && s.Failure.Policy == v1alpha1.FailureRollback
	if !back || p.step.Active == p.target.ID {
		return p.target
	}
	for _, r := range p.step.Revisions {
		if r.ID == p.step.Active {
			return r
		}
	}
	return p.target
}

// inEffect is the configuration that nodes have or are being moved to: the accepted one, with the backend and the MTU of the
// destination.
func (p *pass) inEffect() network.Config {
	c := *p.effective
	to := p.destination()
	c.Backend, c.MTU = to.Backend, to.MTU
	return c
}
