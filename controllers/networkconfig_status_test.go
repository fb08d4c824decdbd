package controllers

import (
	"fmt"
	"testing"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// TestVerdict: which condition tells what. kstatus takes Stalled for failed and Ready=False for in progress.
func TestVerdict(t *testing.T) {
	why := func(reason string) *plan.Problem { return &plan.Problem{Reason: reason, Message: "why"} }
	for name, tc := range map[string]struct {
		v                           verdict
		ready, progressing, stalled string // status and reason
	}{
		"well":                {verdict{nodes: 3}, "True Ready", "False Settled", "False NotStalled"},
		"empty cluster":       {verdict{}, "True NoNodes", "False Settled", "False NotStalled"},
		"joining":             {verdict{nodes: 3, notReady: why("NodesNotReady")}, "False NodesNotReady", "False Settled", "False NotStalled"},
		"changing":            {verdict{nodes: 3, moving: why("RollingOut"), notReady: why("NodesNotReady")}, "False RollingOut", "True RollingOut", "False NotStalled"},
		"refused":             {verdict{nodes: 3, refused: why("InvalidSpec")}, "False InvalidSpec", "False Refused", "True InvalidSpec"},
		"refused meanwhile":   {verdict{nodes: 3, refused: why("NeedsRollout"), moving: why("RollingOut")}, "False NeedsRollout", "True RollingOut", "True NeedsRollout"},
		"exhausted":           {verdict{nodes: 3, blocked: why("SubnetsExhausted"), notReady: why("NodesNotReady")}, "False SubnetsExhausted", "False Settled", "True SubnetsExhausted"},
		"duplicate":           {verdict{nodes: 3, rejected: why("DuplicatePublicIP")}, "False DuplicatePublicIP", "False Settled", "False NotStalled"},
		"deletion held":       {verdict{nodes: 3, teardown: why("TeardownPending")}, "False TeardownPending", "False Settled", "True TeardownPending"},
		"verification failed": {verdict{nodes: 3, stalled: why("VerificationFailed")}, "False VerificationFailed", "False VerificationFailed", "True VerificationFailed"},
		"going back":          {verdict{nodes: 3, stalled: why("RolledBack"), moving: why("RollingOut")}, "False RolledBack", "True RollingOut", "True RolledBack"},
		"paused":              {verdict{nodes: 3, paused: why("RolloutPaused"), notReady: why("NodesNotReady")}, "False RolloutPaused", "False RolloutPaused", "False NotStalled"},
		"dry run passed":      {verdict{nodes: 3, verified: why("Verified")}, "True Verified", "False Verified", "False NotStalled"},
		"refused, then stalled": {verdict{nodes: 3, refused: why("InvalidSpec"), stalled: why("VerificationFailed")},
			"False InvalidSpec", "False Refused", "True InvalidSpec"},
		"tearing down": {verdict{nodes: 3, teardown: why("TearingDown"), asked: true}, "False TearingDown", "True TearingDown", "False NotStalled"},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, c := range tc.v.conditions() {
				status := "False"
				if c.true {
					status = "True"
				}
				got[c.kind] = status + " " + c.why.Reason
			}
			for kind, want := range map[string]string{
				v1alpha1.ConditionReady: tc.ready, v1alpha1.ConditionProgressing: tc.progressing, v1alpha1.ConditionStalled: tc.stalled,
			} {
				if got[kind] != want {
					t.Errorf("%s: got %s, want %s", kind, got[kind], want)
				}
			}
		})
	}
}

// TestNotReadyMessage: a node that says what is wrong is named before one that is only about to confirm.
func TestNotReadyMessage(t *testing.T) {
	ready := plan.Report{Known: true, Current: true, Ready: true, Word: "True"}
	behind := plan.Report{Known: true, Ready: true, Word: "True"}
	ill := plan.Report{Known: true, Current: true, Word: "False", Reason: "NoUnderlay", Message: "no interface fits"}
	for name, tc := range map[string]struct {
		reports []plan.Report
		want    string
	}{
		"all are":        {[]plan.Report{ready, ready}, ""},
		"behind":         {[]plan.Report{behind, ready, behind}, "2 of 3 nodes have yet to confirm what they were told last, n0 among them"},
		"behind and ill": {[]plan.Report{behind, ill}, "2 of 2 nodes are not ready, n1 among them (NoUnderlay: no interface fits)"},
		"new":            {[]plan.Report{{}, ready}, "1 of 2 nodes are not ready, n0 among them (its agent has not reported yet)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pass{cluster: plan.Cluster{Nodes: map[string]plan.Node{}, NodeNetworks: map[string]plan.NodeNetwork{}}}
			for i, r := range tc.reports {
				name := fmt.Sprint("n", i)
				p.cluster.Nodes[name], p.cluster.NodeNetworks[name] = plan.Node{Name: name}, plan.NodeNetwork{Name: name, Report: r}
			}
			got := ""
			if problem := p.notReadyMessage(); problem != nil {
				got = problem.Message
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
