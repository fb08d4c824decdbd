package controllers

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// TestReportCounts: a report is the present Node's, and about the present spec, or it says nothing.
func TestReportCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		node, spec, reported string // UIDs
		boot, bootReported   string
		generation, observed int64
		known, current       bool
	}{
		"current":                        {"u1", "u1", "u1", "b1", "b1", 3, 3, true, true},
		"about an older spec":            {"u1", "u1", "u1", "b1", "b1", 3, 2, true, false},
		"of the machine before":          {"u2", "u2", "u1", "b1", "b1", 3, 3, false, true},
		"of the machine before, not yet": {"u2", "u1", "u1", "b1", "b1", 3, 3, false, true},
		"before the spec names the node": {"u2", "u1", "u2", "b1", "b1", 3, 3, false, true},
		"no Node":                        {"", "u1", "u1", "", "b1", 3, 3, false, true},
		"nothing at all":                 {"", "", "", "", "", 1, 0, false, false},
		"of the boot before":             {"u1", "u1", "u1", "b2", "b1", 3, 3, false, true},
		"the agent rebooted first":       {"u1", "u1", "u1", "b1", "b2", 3, 3, false, true},
		"the agent names no boot":        {"u1", "u1", "u1", "b1", "", 3, 3, false, true},
		"the Node names no boot":         {"u1", "u1", "u1", "", "b1", 3, 3, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Generation: tc.generation}}
			nn.Spec.NodeUID, nn.Status.NodeUID, nn.Status.ObservedGeneration = tc.spec, tc.reported, tc.observed
			nn.Status.BootID = tc.bootReported
			got := parseReport(nn, plan.Node{UID: tc.node, BootID: tc.boot})
			if got.Known != tc.known || got.Current != tc.current {
				t.Errorf("known %v, current %v, want %v, %v", got.Known, got.Current, tc.known, tc.current)
			}
		})
	}
}

func TestReportParsed(t *testing.T) {
	nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	nn.Spec.NodeUID = "u1"
	nn.Status = v1alpha1.NodeNetworkStatus{
		NodeUID: "u1", ObservedGeneration: 1, PublicIPs: []string{"192.0.2.1", "nonsense", "127.0.0.1", "fe80::1%eth0", "fd00::1"},
		PreparedRevisions: []string{"a"}, TransmitRevision: "a",
		FailedRevision: &v1alpha1.FailedRevision{Revision: "b", Failing: []v1alpha1.FailingPeer{{Node: "n2", Reason: v1alpha1.ProbeNoAnswer}}},
		Verifications:  []v1alpha1.Verification{{Revision: "a", Peers: 2, Verified: 2}, {Revision: "b", Peers: 2, FailingCount: 1}},
		Conditions:     []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCleanedUp, Message: "m"}},
	}
	want := plan.Report{
		Known: true, Current: true, PublicIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")},
		Failed: "b", FailedPeers: []v1alpha1.FailingPeer{{Node: "n2", Reason: v1alpha1.ProbeNoAnswer}},
		Verifications: map[string]v1alpha1.Verification{
			"a": {Revision: "a", Peers: 2, Verified: 2}, "b": {Revision: "b", Peers: 2, FailingCount: 1},
		},
		Prepared: []string{"a"}, Transmit: "a", CleanedUp: true, Word: "False", Reason: v1alpha1.ReasonCleanedUp, Message: "m",
	}
	if diff := cmp.Diff(want, parseReport(nn, plan.Node{UID: "u1"}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPublicIPs(t *testing.T) {
	for text, want := range map[string]struct {
		good string
		bad  int
	}{
		"203.0.113.9":              {"[203.0.113.9]", 0},
		"203.0.113.9, 2001:db8::1": {"[203.0.113.9 2001:db8::1]", 0},
		"::ffff:203.0.113.9":       {"[203.0.113.9]", 0},
		"203.0.113.9,203.0.113.10": {"[203.0.113.9]", 1},
		"gateway":                  {"[]", 1},
		"224.0.0.1":                {"[]", 1},
		"fe80::1%eth0":             {"[]", 1},
		"":                         {"[]", 1},
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.PublicIPAnnotation: text}}}
		good, bad := publicIPs(n)
		if got := cmp.Diff(want.good, formatAddrs(good)); got != "" || len(bad) != want.bad {
			t.Errorf("%q: got %v, ignored %q, want %s and %d ignored", text, good, bad, want.good, want.bad)
		}
	}
	if good, bad := publicIPs(&corev1.Node{}); len(good)+len(bad) > 0 {
		t.Errorf("without the annotation: %v %v", good, bad)
	}
}

func formatAddrs(in []netip.Addr) string {
	out := "["
	for i, a := range in {
		if i > 0 {
			out += " "
		}
		out += a.String()
	}
	return out + "]"
}
