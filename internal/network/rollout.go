package network

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Defaults of the rollout policy.
const (
	DefaultMaxConcurrent    = "10%"
	DefaultProgressDeadline = 600 * time.Second
)

// RolloutPolicy says how a change of revision is brought to a running cluster.
type RolloutPolicy struct {
	// VerifyOnly tries the change without any node sending with it.
	VerifyOnly bool
	// MaxConcurrent is how many nodes may be on the move at once; see Concurrent.
	MaxConcurrent intstr.IntOrString
	// Canary selects the nodes that move first; nil means none.
	Canary labels.Selector
	// ProgressDeadline is how long there may be no progress before the rollout is stalled.
	ProgressDeadline time.Duration
	// OnFailure is Rollback or Pause.
	OnFailure v1alpha1.FailurePolicy
	// AbandonAfter is how long a node that is not live is waited for; 0 means for ever.
	AbandonAfter time.Duration

	canary *metav1.LabelSelector
}

// Concurrent is how many of so many nodes may be on the move at once; at least one.
func (p RolloutPolicy) Concurrent(nodes int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&p.MaxConcurrent, nodes, false)
	if err != nil {
		return 1 // parsed before: not reached
	}
	return max(n, 1)
}

// IsCanary says whether a node with these labels moves first.
func (p RolloutPolicy) IsCanary(nodeLabels map[string]string) bool {
	return p.Canary != nil && p.Canary.Matches(labels.Set(nodeLabels))
}

// API returns the policy with every default spelt out.
func (p RolloutPolicy) API() v1alpha1.RolloutPolicy {
	concurrent := p.MaxConcurrent
	deadline, abandon := int32(p.ProgressDeadline/time.Second), int32(p.AbandonAfter/time.Second)
	out := v1alpha1.RolloutPolicy{
		Strategy: v1alpha1.RolloutRolling, MaxConcurrent: &concurrent, Canary: p.canary.DeepCopy(),
		ProgressDeadlineSeconds: &deadline, OnFailure: p.OnFailure, AbandonAfterSeconds: &abandon,
	}
	if p.VerifyOnly {
		out.Strategy = v1alpha1.RolloutVerifyOnly
	}
	return out
}

// rolloutFromAPI fills in the defaults. The error names every field that is wrong.
func rolloutFromAPI(r *v1alpha1.RolloutPolicy) (RolloutPolicy, error) {
	out := RolloutPolicy{
		MaxConcurrent: intstr.FromString(DefaultMaxConcurrent), ProgressDeadline: DefaultProgressDeadline, OnFailure: v1alpha1.FailureRollback,
	}
	if r == nil {
		return out, nil
	}
	var errs fieldErrors
	switch r.Strategy {
	case "", v1alpha1.RolloutRolling:
	case v1alpha1.RolloutVerifyOnly:
		out.VerifyOnly = true
	default:
		errs.add(fmt.Errorf("spec.rollout.strategy: %q is not one of Rolling, VerifyOnly", r.Strategy))
	}
	switch r.OnFailure {
	case "":
	case v1alpha1.FailureRollback, v1alpha1.FailurePause:
		out.OnFailure = r.OnFailure
	default:
		errs.add(fmt.Errorf("spec.rollout.onFailure: %q is not one of Rollback, Pause", r.OnFailure))
	}
	if m := r.MaxConcurrent; m != nil {
		if err := checkConcurrent(*m); err != nil {
			errs.add(fmt.Errorf("spec.rollout.maxConcurrent: %w", err))
		}
		out.MaxConcurrent = *m
	}
	if c := r.Canary; c != nil {
		selector, err := metav1.LabelSelectorAsSelector(c)
		if err != nil {
			errs.add(fmt.Errorf("spec.rollout.canary: %w", err))
		} else {
			out.Canary, out.canary = selector, c.DeepCopy()
		}
	}
	if d := r.ProgressDeadlineSeconds; d != nil {
		if *d < 1 || *d > 86400 {
			errs.add(fmt.Errorf("spec.rollout.progressDeadlineSeconds: %d is not between 1 and 86400", *d))
		}
		out.ProgressDeadline = time.Duration(*d) * time.Second
	}
	if a := r.AbandonAfterSeconds; a != nil {
		if *a < 0 || *a > 365*24*3600 {
			errs.add(fmt.Errorf("spec.rollout.abandonAfterSeconds: %d is not between 0 and %d", *a, 365*24*3600))
		}
		out.AbandonAfter = time.Duration(*a) * time.Second
	}
	if len(errs) > 0 {
		return RolloutPolicy{}, errs
	}
	return out, nil
}

func checkConcurrent(m intstr.IntOrString) error {
	if m.Type == intstr.Int {
		if m.IntVal < 1 {
			return fmt.Errorf("%d is less than 1", m.IntVal)
		}
		return nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&m, 100, false)
	if err != nil {
		return fmt.Errorf("%q is neither a number nor a percentage", m.StrVal)
	}
	if n < 1 || n > 100 {
		return errors.New(m.StrVal + " is not between 1% and 100%")
	}
	return nil
}
