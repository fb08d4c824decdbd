package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestMessages: what a person reads.
func TestMessages(t *testing.T) {
	const b = "revision b (vxlan VNI 98 port 8472)"
	since := func(in *Input) {
		in.Past = v1alpha1.RolloutStatus{Target: "b", Phase: v1alpha1.PhaseVerifying, PhaseStartedAt: ago(time.Minute), ProgressedAt: ago(time.Minute)}
	}
	late := func(in *Input) {
		in.Past = v1alpha1.RolloutStatus{Target: "b", Phase: v1alpha1.PhasePreparing, ProgressedAt: ago(time.Hour), WaitingCount: 3}
	}
	for name, tc := range map[string]struct {
		nodes  []tn
		change func(*Input)
		want   string
	}{
		"one pair of two": {
			[]tn{nn("ab", "a", unproven("NoPath", "n1")), nn("ab", "a", unproven("NoPath", "n0"))}, since,
			b + " does not work between n0 and n1 (NoPath of n1); no node was moved; it goes on by itself when they answer",
		},
		"one pair of three": {
			[]tn{nn("ab", "a", unproven("NoAnswer", "n1")), nn("ab", "a", unproven("NoAnswer", "n0")), nn("ab", "a")}, since,
			b + " does not work between n0 and n1 (NoAnswer of n1); no node was moved; it goes on by itself when they answer",
		},
		"one node towards all": {
			[]tn{nn("ab", "a", unproven("NoPath", "n2")), nn("ab", "a", unproven("NoPath", "n2")), nn("ab", "a", unproven("NoPath", "n0", "n1"))}, since,
			b + " does not work for most peers of n2 (n0 to n2: NoPath of n2); no node was moved; it goes on by itself when they answer",
		},
		"nobody": {
			[]tn{
				nn("ab", "a", unproven("NoAnswer", "n1", "n2", "n3")), nn("ab", "a", unproven("NoAnswer", "n0", "n2", "n3")),
				nn("ab", "a", unproven("NoAnswer", "n0", "n1", "n3")), nn("ab", "a", unproven("NoAnswer", "n0", "n1", "n2")),
			}, since,
			b + " does not work between n0 and n1 (NoAnswer of n1); n0 and n2 (NoAnswer of n2); n0 and n3 (NoAnswer of n3); and 3 more; " +
				"no node was moved; it goes on by itself when they answer",
		},
		"late nodes": {
			[]tn{nn("ab", "a", stale), nn("ab", "a", booted), nn("a", "a", stale, away(time.Hour))}, late,
			"no progress for 10m0s, waiting for 3 nodes to receive " + b + ": " +
				"n0 (its agent has not reported for the present NodeNetwork: look at the agent's pod); " +
				"n1 (its agent has not reported since the node was made or booted: look at the agent's pod); " +
				"n2 (not Ready since 2026-01-02T11:00:00Z: bring it back, delete its Node, or set rollout.abandonAfterSeconds)",
		},
		"going back": {
			[]tn{nn("ab", "b", failed("b", "a")), nn("ab", "b")}, func(*Input) {},
			"node n0 went back from " + b + " by itself (n1: no answer over UDP 8472 from 192.0.2.2); all nodes go back to " +
				"revision a (vxlan VNI 97 port 8472); change the spec, or set the annotation net.hopsack.dev/retry to a new value to try again",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.nodes)
			tc.change(&in)
			step := Next(in)
			if step.Stalled == nil {
				t.Fatalf("not stalled: %s", show(step, len(tc.nodes)))
			}
			if diff := cmp.Diff(tc.want, step.Stalled.Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPairs: a pair is listed once, at most 16 are, and the count knows the others.
func TestPairs(t *testing.T) {
	var nodes []tn
	for i := range 30 {
		var peers []string
		for j := range 30 {
			if i != j {
				peers = append(peers, fmt.Sprint("n", j))
			}
		}
		n := nn("ab", "a", unproven("NoAnswer", peers[:16]...))
		v := n.Report.Verifications["b"]
		v.Peers, v.FailingCount = 29, 29
		n.Report.Verifications["b"] = v
		nodes = append(nodes, n)
	}
	step := Next(input(nodes))
	if len(step.FailingPairs) != 16 || step.FailingPairCount != 30*29/2 {
		t.Errorf("%d pairs listed, %d counted, want 16 and 435", len(step.FailingPairs), step.FailingPairCount)
	}
	if step.Status.WaitingCount != 30 || len(step.Status.WaitingFor) != 16 {
		t.Errorf("waits for %d, of which %v are named", step.Status.WaitingCount, step.Status.WaitingFor)
	}
}

// TestManyDead: lists that are cut off hold nothing up when all they name are dead and there are no more.
func TestManyDead(t *testing.T) {
	cluster := func(failing int32) []tn {
		var nodes []tn
		var dead []string
		for i := range 20 {
			nodes = append(nodes, nn("ab", "a", unprobed, away(time.Hour)))
			dead = append(dead, fmt.Sprint("n", i))
		}
		for range 2 {
			n := nn("ab", "a", unproven("PeerDead", dead[:16]...))
			n.Report.Verifications["b"] = v1alpha1.Verification{
				Revision: "b", Peers: 21, Verified: 21 - failing, FailingCount: failing, Failing: n.Report.Verifications["b"].Failing,
			}
			nodes = append(nodes, n)
		}
		return nodes
	}
	if got := Next(input(cluster(20))).Status.Phase; got != v1alpha1.PhaseSwitching {
		t.Errorf("20 dead nodes, 20 failing peers: %s, want Switching", got)
	}
	if got := Next(input(cluster(21))).Status.Phase; got != v1alpha1.PhaseVerifying {
		t.Errorf("20 dead nodes, 21 failing peers: %s, want Verifying", got)
	}
}

// TestEncapsulated: pairs that stay encapsulated are listed once, and hold nothing up.
func TestEncapsulated(t *testing.T) {
	encapsulated := func(peer string) change {
		return func(n *tn) {
			n.Report.Verifications = map[string]v1alpha1.Verification{"b": {
				Revision: "b", Peers: 1, Verified: 1, EncapsulatedCount: 1, Encapsulated: []v1alpha1.FailingPeer{{Node: peer, Reason: "PodAddressesDropped"}},
			}}
		}
	}
	step := Next(input([]tn{nn("b", "b", encapsulated("n1")), nn("b", "b", encapsulated("n0"))}))
	want := []v1alpha1.NodePair{{From: "n0", To: "n1", Reason: "PodAddressesDropped"}}
	if diff := cmp.Diff(want, step.EncapsulatedPairs); diff != "" || step.EncapsulatedPairCount != 1 || step.Stalled != nil {
		t.Errorf("count %d, stalled %v, pairs (-want +got):\n%s", step.EncapsulatedPairCount, step.Stalled, diff)
	}
}
