package nodeagent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// asked is a node that receives the revisions and shall send with the first.
func asked(revisions ...string) network.Node {
	var n network.Node
	for _, id := range revisions {
		n.Revisions = append(n.Revisions, network.Revision{ID: id})
	}
	n.Transmit = &n.Revisions[0]
	return n
}

func TestCommit(t *testing.T) {
	n2 := []v1alpha1.FailingPeer{{Node: "n2", Reason: v1alpha1.ProbeNoAnswer}}
	failed := &v1alpha1.FailedRevision{Revision: "b", Failing: n2}
	for name, tc := range map[string]struct {
		before commit
		node   network.Node
		moves  uint64
		trial  trial
		want   commit
		send   sending
	}{
		"the first of all needs no proof": {commit{}, asked("a"), 0, trial{}, commit{Confirmed: "a"}, sending{Revision: "a"}},
		"nothing new":                     {commit{Confirmed: "a"}, asked("a", "b"), 0, trial{}, commit{Confirmed: "a"}, sending{Revision: "a"}},
		"asked for another: on trial": {commit{Confirmed: "a"}, asked("b", "a"), 0, trial{},
			commit{Confirmed: "a"}, sending{Revision: "b", Previous: "a"}},
		"on trial, not all asked yet": {commit{Confirmed: "a"}, asked("b", "a"), 0, trial{From: "a", To: "b"},
			commit{Confirmed: "a"}, sending{Revision: "b", Previous: "a"}},
		"all reached": {commit{Confirmed: "a"}, asked("b", "a"), 0, trial{From: "a", To: "b", Reached: true},
			commit{Confirmed: "b"}, sending{Revision: "b"}},
		"proof of another trial": {commit{Confirmed: "a"}, asked("b", "a", "c"), 0, trial{From: "a", To: "c", Reached: true},
			commit{Confirmed: "a"}, sending{Revision: "b", Previous: "a"}},
		"failure of another trial": {commit{Confirmed: "a"}, asked("b", "a", "c"), 0, trial{From: "a", To: "c", Failing: n2},
			commit{Confirmed: "a"}, sending{Revision: "b", Previous: "a"}},
		"a peer is not reached": {commit{Confirmed: "a"}, asked("b", "a"), 1, trial{From: "a", To: "b", Failing: n2},
			commit{Confirmed: "a", Failed: failed, failedAt: 1}, sending{Revision: "a", Reverted: true}},
		"stays where it went back to": {commit{Confirmed: "a", Failed: failed, failedAt: 1}, asked("b", "a"), 1, trial{},
			commit{Confirmed: "a", Failed: failed, failedAt: 1}, sending{Revision: "a"}},
		"asked to go back as well": {commit{Confirmed: "a", Failed: failed, failedAt: 1}, asked("a", "b"), 2, trial{},
			commit{Confirmed: "a"}, sending{Revision: "a"}},
		"asked for a third one": {commit{Confirmed: "a", Failed: failed, failedAt: 1}, asked("c", "a", "b"), 2, trial{},
			commit{Confirmed: "a"}, sending{Revision: "c", Previous: "a"}},
		"asked anew, after something else": {commit{Confirmed: "a", Failed: failed, failedAt: 1}, asked("b", "a"), 3, trial{},
			commit{Confirmed: "a"}, sending{Revision: "b", Previous: "a"}},
		"the way back is gone": {commit{Confirmed: "a"}, asked("b", "c"), 0, trial{}, commit{Confirmed: "b"}, sending{Revision: "b"}},
		"the way back is gone after it was taken": {commit{Confirmed: "a", Failed: failed}, asked("b", "c"), 0, trial{},
			commit{Confirmed: "b"}, sending{Revision: "b"}},
		"asked to go back while on trial": {commit{Confirmed: "a"}, asked("a", "b"), 0, trial{From: "a", To: "b"},
			commit{Confirmed: "a"}, sending{Revision: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, send := tc.before.next(tc.node, tc.moves, tc.trial)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(commit{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("commit (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.send, send); diff != "" {
				t.Errorf("sending (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailureNamesFewPeers(t *testing.T) {
	many := make([]v1alpha1.FailingPeer, 40)
	got, _ := commit{Confirmed: "a"}.next(asked("b", "a"), 0, trial{From: "a", To: "b", Failing: many})
	if n := len(got.Failed.Failing); n != maxListed {
		t.Errorf("%d peers are named, want %d", n, maxListed)
	}
}
