package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// TestMilestones: which events tell of the step from one version of status to the next.
func TestMilestones(t *testing.T) {
	at := func(s int) *metav1.MicroTime { m := metav1.NewMicroTime(time.Unix(int64(s), 0)); return &m }
	status := func(phase v1alpha1.RolloutPhase, change ...func(*v1alpha1.RolloutStatus)) *v1alpha1.RolloutStatus {
		out := &v1alpha1.RolloutStatus{Phase: phase, Source: "a", Target: "b", StartedAt: at(5)}
		for _, f := range change {
			f(out)
		}
		return out
	}
	earlier := func(s *v1alpha1.RolloutStatus) { s.Target, s.StartedAt = "a", at(1) }
	paused := func(s *v1alpha1.RolloutStatus) { s.Paused = true }
	proven := func(s *v1alpha1.RolloutStatus) { s.Verified = true }
	without := func(s *v1alpha1.RolloutStatus) { s.Abandoned = []string{"n3"} }
	const (
		settled, preparing, verifying = v1alpha1.PhaseSettled, v1alpha1.PhasePreparing, v1alpha1.PhaseVerifying
		switching, back, cleaning     = v1alpha1.PhaseSwitching, v1alpha1.PhaseRollingBack, v1alpha1.PhaseCleaning
	)
	for name, tc := range map[string]struct {
		before, after *v1alpha1.RolloutStatus
		revisions     string
		want          []string
	}{
		"first sight":        {nil, status(settled), "b", nil},
		"nothing":            {status(settled), status(settled), "b", nil},
		"started":            {status(settled, earlier), status(preparing), "ab", []string{eventStarted}},
		"overtaken":          {status(switching, earlier), status(preparing), "ab", []string{eventStarted}},
		"prepared":           {status(preparing), status(verifying), "ab", nil},
		"verified":           {status(verifying), status(switching), "ab", []string{eventVerified, eventSwitching}},
		"dry run done":       {status(verifying), status(settled, proven), "a", []string{eventVerified}},
		"switched":           {status(switching), status(cleaning), "ab", nil},
		"completed":          {status(cleaning), status(settled), "b", []string{eventCompleted}},
		"failed":             {status(switching), status(back), "ab", []string{eventBack}},
		"is back":            {status(back), status(settled), "a", nil},
		"paused":             {status(verifying), status(verifying, paused), "ab", []string{eventPaused}},
		"resumed":            {status(verifying, paused), status(switching), "ab", []string{eventVerified, eventSwitching, eventResumed}},
		"abandoned":          {status(switching), status(switching, without), "ab", []string{eventAbandoned}},
		"abandoned, as told": {status(switching, without), status(switching, without), "ab", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pass{effective: &network.Config{}, target: plan.Revision{ID: "b"}, step: rollout.Step{Status: *tc.after, Active: "a"}}
			for _, id := range tc.revisions {
				p.step.Revisions = append(p.step.Revisions, plan.Revision{ID: string(id)})
			}
			var got []string
			for _, m := range p.passed(tc.before, tc.after) {
				got = append(got, m.reason)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
