package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// at is a NetworkConfig of generation 2 with the given status.
func at(observed int64, stalled, reason string, r v1alpha1.RolloutStatus, change ...func(*v1alpha1.NetworkConfigStatus)) *v1alpha1.NetworkConfig {
	ready := metav1.ConditionTrue
	if stalled == "True" || r.Phase != v1alpha1.PhaseSettled {
		ready = metav1.ConditionFalse
	}
	c := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 2}}
	c.Status = v1alpha1.NetworkConfigStatus{ObservedGeneration: observed, ActiveRevision: "aaaa", TargetRevision: "aaaa", Rollout: &r,
		Nodes: v1alpha1.NodeCounts{Live: 3, Prepared: 3, Verified: 3, Switched: 1},
		Conditions: []metav1.Condition{
			{Type: "Ready", Status: ready, Reason: reason, Message: "why"},
			{Type: "Stalled", Status: metav1.ConditionStatus(stalled), Reason: reason, Message: "why"},
		}}
	if r.Phase == v1alpha1.PhaseSettled {
		c.Status.Nodes.Switched = 3
	}
	for _, f := range change {
		f(&c.Status)
	}
	return c
}

func TestProgress(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	started, completed := metav1.NewMicroTime(now.Add(-1500*time.Millisecond)), metav1.NewMicroTime(now)
	toB := func(s *v1alpha1.NetworkConfigStatus) { s.TargetRevision = "bbbb" }
	tests := map[string]struct {
		cfg     *v1alpha1.NetworkConfig
		outcome outcome
		line    string
	}{
		"an older generation was completed": {at(1, "False", "Ready", v1alpha1.RolloutStatus{Phase: "Settled"}),
			outcomeWaiting, "waiting for the controller to take up generation 2 (it has seen 1)"},
		"an older generation was stalled": {at(1, "True", "InvalidSpec", v1alpha1.RolloutStatus{Phase: "Settled"}),
			outcomeWaiting, "waiting for the controller to take up generation 2 (it has seen 1)"},
		"nobody has seen it": {at(-1, "Unknown", "", v1alpha1.RolloutStatus{}),
			outcomeWaiting, "waiting for the controller to take up generation 2 (it has seen 0)"},
		"completed": {at(2, "False", "Ready", v1alpha1.RolloutStatus{Phase: "Settled", StartedAt: &started, CompletedAt: &completed}),
			outcomeDone, "completed: every node sends with revision aaaa (the last change took 1.5s)"},
		"completed without a node": {at(2, "False", "Ready", v1alpha1.RolloutStatus{Phase: "Settled", Abandoned: []string{"n3"}}),
			outcomeDone, "completed: every node sends with revision aaaa; without n3"},
		"completed, a node is not ready": {at(2, "False", "NodesNotReady", v1alpha1.RolloutStatus{Phase: "Settled"}, func(s *v1alpha1.NetworkConfigStatus) {
			s.Conditions[0].Status = metav1.ConditionFalse
		}), outcomeSettling, "completed: every node sends with revision aaaa; not Ready (NodesNotReady): why"},
		"new network": {at(2, "False", "NodesNotReady", v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseSettled}, func(s *v1alpha1.NetworkConfigStatus) {
			s.Conditions[0].Status, s.Conditions[0].Reason = metav1.ConditionFalse, "NodesNotReady"
			s.Nodes = v1alpha1.NodeCounts{Total: 3}
		}), outcomeSettling, "revision aaaa is in force, and no node sends with it yet; not Ready (NodesNotReady): why"},
		"some have reported": {at(2, "False", "NodesNotReady", v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseSettled}, func(s *v1alpha1.NetworkConfigStatus) {
			s.Conditions[0].Status, s.Conditions[0].Reason = metav1.ConditionFalse, "NodesNotReady"
			s.Nodes = v1alpha1.NodeCounts{Total: 3, Live: 3, Switched: 1}
		}), outcomeSettling, "revision aaaa is in force: 1 of 3 live nodes send with it; not Ready (NodesNotReady): why"},
		"switching": {at(2, "False", "RollingOut", v1alpha1.RolloutStatus{Phase: "Switching", Target: "bbbb", WaitingFor: []string{"n2"}, WaitingCount: 20}, toB),
			outcomeWaiting, "revision bbbb: switching: 3 prepared, 3 verified, 1 switched of 3 live nodes; waiting for n2, 19 more"},
		"not begun": {at(2, "False", "RollingOut", v1alpha1.RolloutStatus{Phase: "Settled", Target: "bbbb"}, toB),
			outcomeWaiting, "revision bbbb: starting: 3 prepared, 3 verified, 3 switched of 3 live nodes"},
		"paused": {at(2, "False", "RolloutPaused", v1alpha1.RolloutStatus{Phase: "Switching", Target: "bbbb", Paused: true}, toB),
			outcomePaused, "paused: revision bbbb: switching: 3 prepared, 3 verified, 1 switched of 3 live nodes"},
		"paused, with nothing to do": {at(2, "False", "Ready", v1alpha1.RolloutStatus{Phase: "Settled", Paused: true}),
			outcomeDone, "completed: every node sends with revision aaaa"},
		"verification failed": {at(2, "True", "VerificationFailed", v1alpha1.RolloutStatus{Phase: "Verifying", Target: "bbbb"}, toB),
			outcomeStalling, "stalled (VerificationFailed): why [revision bbbb: verifying: 3 prepared, 3 verified, 1 switched of 3 live nodes]"},
		"rolling back": {at(2, "True", "RolledBack", v1alpha1.RolloutStatus{Phase: "RollingBack", Target: "bbbb"}, toB),
			outcomeWaiting, "stalled (RolledBack): why [revision bbbb: rolling back: 3 prepared, 3 verified, 1 switched of 3 live nodes]"},
		"rolled back": {at(2, "True", "RolledBack", v1alpha1.RolloutStatus{Phase: "Settled"}), outcomeFailed, "stalled (RolledBack): why"},
		"verified": {at(2, "False", "Verified", v1alpha1.RolloutStatus{Phase: "Settled", Target: "bbbb", Verified: true}, toB),
			outcomeDone, "verified: revision bbbb works between all nodes; nothing was changed (strategy VerifyOnly)"},
		"no conditions": {at(2, "False", "", v1alpha1.RolloutStatus{Phase: "Settled"}, func(s *v1alpha1.NetworkConfigStatus) { s.Conditions = nil }),
			outcomeWaiting, "waiting for the controller to say how it stands"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := newProgress(tt.cfg, now)
			if got.outcome != tt.outcome || got.line != tt.line {
				t.Errorf("got  %s: %s\nwant %s: %s", got.outcome, got.line, tt.outcome, tt.line)
			}
		})
	}
}

// TestSegments: what single nodes count is enough to tell pairs apart, and where it is not, nothing is made up.
func TestSegments(t *testing.T) {
	type node struct {
		direct, encapsulated, still int32
		stillTo                     []string
	}
	build := func(nodes map[string]node) cluster {
		var c cluster
		for name, n := range nodes {
			nn := v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name}}
			nn.Spec.Revisions = []v1alpha1.Revision{{ID: "r", Backend: v1alpha1.Backend{Type: "vxlan", VXLAN: &v1alpha1.VXLANBackend{DirectRouting: "Verified"}}}}
			nn.Status.TransmitRevision = "r"
			nn.Status.Paths = &v1alpha1.PathCounts{Direct: n.direct, Encapsulated: n.encapsulated}
			v := v1alpha1.Verification{Revision: "r", EncapsulatedCount: n.still}
			for _, to := range n.stillTo {
				v.Encapsulated = append(v.Encapsulated, v1alpha1.FailingPeer{Node: to})
			}
			nn.Status.Verifications = []v1alpha1.Verification{v}
			c.nodes = append(c.nodes, nn)
			c.leases = append(c.leases, v1alpha1.SubnetLease{Spec: v1alpha1.SubnetLeaseSpec{NodeName: name}, Status: v1alpha1.SubnetLeaseStatus{PublicIP: "192.0.2.1"}})
		}
		return c
	}
	tests := map[string]struct {
		nodes map[string]node
		want  map[string]nearness
	}{
		"all on one segment": {map[string]node{"a": {direct: 2}, "b": {direct: 2}, "c": {direct: 2}},
			map[string]nearness{"ab": near, "bc": near, "ca": near}},
		"one behind a router": {map[string]node{"a": {direct: 1, encapsulated: 1}, "b": {direct: 1, encapsulated: 1}, "c": {encapsulated: 2}},
			map[string]nearness{"ab": near, "ac": far, "bc": far}},
		"a direct path that does not work": {map[string]node{"a": {encapsulated: 2, still: 1, stillTo: []string{"b"}}, "b": {encapsulated: 2, still: 1, stillTo: []string{"a"}}, "c": {encapsulated: 2}},
			map[string]nearness{"ab": near, "ac": far, "bc": far}},
		"two segments of two": {map[string]node{"a": {direct: 1, encapsulated: 2}, "b": {direct: 1, encapsulated: 2}, "c": {direct: 1, encapsulated: 2}, "d": {direct: 1, encapsulated: 2}},
			map[string]nearness{"ab": unknown, "ac": unknown}},
		"counts of other peers": {map[string]node{"a": {direct: 5}, "b": {direct: 5}}, map[string]nearness{"ab": unknown}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSegments(build(tt.nodes))
			got := map[string]nearness{}
			for pair := range tt.want {
				got[pair] = s.between(pair[:1], pair[1:])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("pairs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPrint: a line for what is new, a pair and the sentence of a stall once.
func TestPrint(t *testing.T) {
	stall := func(phase string, details ...string) progress {
		return progress{line: "stalled (X): why [" + phase + "]", brief: "stalled: " + phase, cause: "why", details: details}
	}
	var out bytes.Buffer
	w := &watcher{out: &out, shown: map[string]bool{}}
	for _, p := range []progress{
		{line: "verifying"},
		{line: "verifying", details: []string{"n2 -> n1: no answer from n1"}},
		{line: "verifying", details: []string{"n1 -> n2: no answer from n2", "n2 -> n3: no answer from n3"}},
		stall("0 verified", "n1 -> n2: no answer from n2"),
		stall("0 verified", "n1 -> n2: no answer from n2"),
		stall("1 verified", "n1 -> n2: no answer from n2"),
		{line: "switching"},
		stall("1 verified"),
	} {
		w.print(p)
	}
	want := `verifying
  n2 -> n1: no answer from n1
  n2 -> n3: no answer from n3
stalled (X): why [0 verified]
  n1 -> n2: no answer from n2
stalled: 1 verified
switching
stalled (X): why [1 verified]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}
