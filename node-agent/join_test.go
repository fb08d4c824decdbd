package nodeagent

import (
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// No pod starts on a node that joins before peers answer, whatever it was told; one that was proven before starts its pods
// though its peers are gone.
func TestPassJoins(t *testing.T) {
	r := newRollout(t)
	handoff := func(want bool) {
		t.Helper()
		if _, err := os.Stat(r.agent.opts.Paths.Handoff); (err == nil) != want {
			t.Errorf("the hand-off is there: %t, want %t", err == nil, want)
		}
	}
	ready := func(s v1alpha1.NodeNetworkStatus) string {
		return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady).Reason
	}
	r.prober.block("n2 ")
	r.agent.view.setNode(nodeNetwork())
	for range 3 {
		got := r.pass()
		handoff(false)
		if reason := ready(got); reason != v1alpha1.ReasonUnproven && reason != v1alpha1.ReasonNotWritten {
			t.Errorf("Ready's reason is %s", reason)
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.prober.block()
	r.until("the node in", func(s v1alpha1.NodeNetworkStatus) bool { return ready(s) != v1alpha1.ReasonUnproven })
	handoff(true)

	r.prober.block("n2 ")
	r.agent.memory, r.agent.view = memory{}, newView()
	if err := os.Remove(r.agent.opts.Paths.Handoff); err != nil { // a reboot
		t.Fatal(err)
	}
	if err := r.agent.restore(); err != nil {
		t.Fatal(err)
	}
	r.pass()
	handoff(true)

	r.agent.view.setLease(lease("10.244.1.0-24", "10.244.1.0/24", "n1", "172.30.0.77", v1alpha1.ReasonBound), now)
	r.pass()
	handoff(false) // another endpoint is another join
}

// An agent of before had no findings to save: its node is not made to join again.
func TestStateOfAnEarlierVersionIsProven(t *testing.T) {
	r := newRollout(t)
	content := store.Content{SavedAt: time.Now(), Node: *nodeNetwork(), Leases: []v1alpha1.SubnetLease{*own(v1alpha1.ReasonBound), *bound()}}
	if err := store.Save(r.agent.opts.StateDir, content); err != nil {
		t.Fatal(err)
	}
	r.prober.block("n2 ")
	r.agent.view = newView()
	if err := r.agent.restore(); err != nil {
		t.Fatal(err)
	}
	r.pass()
	if _, err := os.Stat(r.agent.opts.Paths.Handoff); err != nil {
		t.Error(err)
	}
}
