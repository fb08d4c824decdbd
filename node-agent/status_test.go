package nodeagent

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/cniconf"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// wellOutcome is a pass with nothing to complain of.
func wellOutcome() outcome {
	v := newView()
	v.setNode(nodeNetwork())
	v.setLease(bound(), now)
	return outcome{
		view: v.take(now), bootID: "boot", applied: true, cni: cniconf.Found{Ours: true}, commit: commit{Confirmed: "rev-a"},
		counts: v1alpha1.PathCounts{Encapsulated: 1},
		facts:  desired.Facts{Underlay: desired.Underlay{Name: "eth0", Addrs: addrs("172.30.0.11"), MTU: 1500}},
	}
}

func TestNodeStatusOfAWellNode(t *testing.T) {
	got := nodeStatus(wellOutcome(), nil)
	conditions := got.Conditions
	got.Conditions = nil
	want := v1alpha1.NodeNetworkStatus{
		ObservedGeneration: 1, NodeUID: "node-uid", BootID: "boot", Interface: "eth0", PublicIPs: []string{"172.30.0.11"}, MTU: 1450,
		PreparedRevisions: []string{"rev-a"}, TransmitRevision: "rev-a",
		Paths: &v1alpha1.PathCounts{Encapsulated: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	for _, c := range conditions {
		if want := c.Type != v1alpha1.ConditionLeasesDoubtful; (c.Status == metav1.ConditionTrue) != want {
			t.Errorf("condition %s is %s", c.Type, c.Status)
		}
	}
}

func TestReadySaysWhatIsWrongFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		change         func(*outcome)
		reason, sample string
		prepared       bool
	}{
		"no interface": {func(o *outcome) { o.factsErr = errors.New("no interface matches name eth7") },
			v1alpha1.ReasonNoInterface, "eth7", true},
		"kernel refuses": {func(o *outcome) {
			o.syncErr = errors.Join(errors.New("add route"), errors.New("add fdb"))
			o.err = o.syncErr
		},
			v1alpha1.ReasonProgrammingFailed, "add route (and 1 more errors)", false},
		"tunnel of another revision": {func(o *outcome) {
			o.tunnelErr = errors.New("bind: address already in use")
			o.err = o.tunnelErr
		},
			v1alpha1.ReasonRevisionUnusable, "already in use", true},
		"foreign route": {func(o *outcome) {
			o.problems = []desired.Problem{{Reason: v1alpha1.ReasonForeignRoute, Message: "10.244.2.0/24"}}
		},
			v1alpha1.ReasonForeignRoute, "10.244.2.0/24", true},
		"host": {func(o *outcome) {
			o.problems = []desired.Problem{{Reason: v1alpha1.ReasonHostNotConfigured, Message: "ip_forward"}}
		},
			v1alpha1.ReasonHostNotConfigured, "ip_forward", true},
		"shadowed": {func(o *outcome) {
			o.cni = cniconf.Found{Ours: true, Foreign: []string{"00-multus.conf"}, Shadowed: true}
		},
			v1alpha1.ReasonForeignCNI, "00-multus.conf", true},
		"not written": {func(o *outcome) { o.cni.Ours = false }, v1alpha1.ReasonNotWritten, "not written", true},
		"lease gone":  {func(o *outcome) { o.view.NoSubnet = true }, v1alpha1.ReasonWaitingForSubnet, "lease is gone", true},
		"joins":       {func(o *outcome) { o.unproven = true }, v1alpha1.ReasonUnproven, "half of the peers", true},
		"is new":      {func(o *outcome) { o.unpublished = true }, v1alpha1.ReasonUnproven, "not published yet", true},
		"torn down":   {func(o *outcome) { o.cleanedUp = true }, v1alpha1.ReasonCleanedUp, "nothing of hopsack", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := wellOutcome()
			tc.change(&o)
			status := nodeStatus(o, nil)
			ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != metav1.ConditionFalse || ready.Reason != tc.reason || !strings.Contains(ready.Message, tc.sample) {
				t.Errorf("Ready = %s %s %q, want False %s with %q", ready.Status, ready.Reason, ready.Message, tc.reason, tc.sample)
			}
			if got := len(status.PreparedRevisions) > 0; got != tc.prepared {
				t.Errorf("says prepared: %t, want %t", got, tc.prepared)
			}
		})
	}
}

func TestLeftoversAreSaidAndHarmless(t *testing.T) {
	o := wellOutcome()
	o.cni.Foreign = []string{"10-flannel.conflist"}
	status := nodeStatus(o, nil)
	c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionCNIConfigured)
	if c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "10-flannel.conflist") {
		t.Errorf("CNIConfigured = %s %q, want True naming the leftover", c.Status, c.Message)
	}
}

func TestConditionsKeepTheirTransitionTime(t *testing.T) {
	first := nodeStatus(wellOutcome(), nil)
	for i := range first.Conditions {
		first.Conditions[i].LastTransitionTime = metav1.NewTime(now)
	}
	second := nodeStatus(wellOutcome(), first.Conditions)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("a pass without news changes the report (-first +second):\n%s", diff)
	}
}

// A revision is reported as one that the node can receive when all that takes is there: its tunnel listens and the prober knows
// its paths.
func TestPrepared(t *testing.T) {
	revisions := func(n *v1alpha1.NodeNetwork) {
		n.Spec.Revisions = append(n.Spec.Revisions, v1alpha1.Revision{ID: "rev-b", Backend: v1alpha1.Backend{Type: v1alpha1.BackendHostGW}},
			v1alpha1.Revision{ID: "rev-u", Backend: v1alpha1.Backend{Type: v1alpha1.BackendUDP}})
	}
	failed := errors.New("failed")
	for name, tc := range map[string]struct {
		change func(*outcome)
		want   []string
	}{
		"all well":             {func(*outcome) {}, []string{"rev-a", "rev-b", "rev-u"}},
		"not applied":          {func(o *outcome) { o.applied = false }, nil},
		"kernel refuses":       {func(o *outcome) { o.syncErr, o.err = failed, failed }, nil},
		"tunnel does not open": {func(o *outcome) { o.tunnelErr, o.err = failed, failed }, []string{"rev-a", "rev-b"}},
		"no prober":            {func(o *outcome) { o.probeErr, o.err = failed, failed }, []string{"rev-a"}},
		"foreign device": {func(o *outcome) { o.problems = []desired.Problem{{Reason: v1alpha1.ReasonForeignDevice}} },
			[]string{"rev-a"}},
		"probes go elsewhere": {func(o *outcome) { o.problems = []desired.Problem{{Reason: v1alpha1.ReasonForeignRule}} },
			[]string{"rev-a"}},
		"port of one is taken": {func(o *outcome) { o.problems = []desired.Problem{{Reason: v1alpha1.ReasonRevisionUnusable}} },
			[]string{"rev-a"}},
		"torn down": {func(o *outcome) { o.cleanedUp = true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := wellOutcome()
			v := newView()
			v.setNode(nodeNetwork(revisions))
			o.view = v.take(now)
			tc.change(&o)
			if diff := cmp.Diff(tc.want, nodeStatus(o, nil).PreparedRevisions); diff != "" {
				t.Errorf("prepared (-want +got):\n%s", diff)
			}
		})
	}
}
