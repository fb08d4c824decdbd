package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

func TestNetworkUnavailable(t *testing.T) {
	up := corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: reasonUp}
	for name, tc := range map[string]struct {
		report plan.Report
		now    corev1.NodeCondition
		status corev1.ConditionStatus // "": stays
		reason string
	}{
		"before the first word":          {plan.Report{}, corev1.NodeCondition{}, corev1.ConditionTrue, reasonStarting},
		"another network's word":         {plan.Report{}, corev1.NodeCondition{Status: corev1.ConditionFalse, Reason: "FlannelIsUp"}, corev1.ConditionTrue, reasonStarting},
		"the report was lost":            {plan.Report{}, up, "", ""},
		"a report without the condition": {plan.Report{Known: true}, corev1.NodeCondition{}, corev1.ConditionTrue, reasonStarting},
		"up":                             {plan.Report{Known: true, Ready: true, Word: "True"}, corev1.NodeCondition{}, corev1.ConditionFalse, reasonUp},
		"up for an older spec":           {plan.Report{Known: true, Ready: true, Word: "True", Current: false}, up, corev1.ConditionFalse, reasonUp},
		"down":                           {plan.Report{Known: true, Word: "False", Reason: "NoInterface"}, up, corev1.ConditionTrue, "NoInterface"},
		"down without a reason":          {plan.Report{Known: true, Word: "False"}, up, corev1.ConditionTrue, reasonDown},
		"does not know":                  {plan.Report{Known: true, Word: "Unknown"}, up, "", ""},
		"the old machine's word":         {plan.Report{Known: false, Ready: true, Word: "True"}, corev1.NodeCondition{}, corev1.ConditionTrue, reasonStarting},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := networkUnavailable(tc.report, tc.now)
			if ok != (tc.status != "") || ok && (got.Status != tc.status || got.Reason != tc.reason) {
				t.Errorf("got %v %s %s, want %q %s", ok, got.Status, got.Reason, tc.status, tc.reason)
			}
		})
	}
}

// A change that cannot be prepared on a node does not keep pods from it: the network in use works.
func TestOnlyFurther(t *testing.T) {
	two := []plan.Revision{{ID: "a"}, {ID: "b"}}
	for name, tc := range map[string]struct {
		revisions []plan.Revision
		reason    string
		want      bool
	}{
		"a port that a further revision needs": {two, v1alpha1.ReasonRevisionUnusable, true},
		"a device in its way":                  {two, v1alpha1.ReasonForeignDevice, true},
		"a device in the way of the only one":  {two[:1], v1alpha1.ReasonForeignDevice, false},
		"what is in use does not work":         {two, v1alpha1.ReasonProgrammingFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := onlyFurther(plan.NodeNetwork{Revisions: tc.revisions, Report: plan.Report{Known: true, Word: "False", Reason: tc.reason}})
			if got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}
