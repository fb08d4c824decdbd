package nodeagent

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func nodeNetwork(change ...func(*v1alpha1.NodeNetwork)) *v1alpha1.NodeNetwork {
	n := &v1alpha1.NodeNetwork{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid", Generation: 1},
		Spec: v1alpha1.NodeNetworkSpec{
			NodeUID: "node-uid", PodNetworks: []string{"10.244.0.0/16"}, VTEPMAC: "02:00:00:00:00:01", RetentionSeconds: 3600,
			Subnets:   []v1alpha1.NodeSubnet{{Subnet: "10.244.1.0/24", State: v1alpha1.SubnetBound}},
			Revisions: []v1alpha1.Revision{{ID: "rev-a", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}}},
			Transmit:  "rev-a",
		},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func lease(name, subnet, node, ip, reason string) *v1alpha1.SubnetLease {
	status := metav1.ConditionTrue
	if slices.Contains([]string{v1alpha1.ReasonPending, v1alpha1.ReasonReleased, v1alpha1.ReasonOverlaps, v1alpha1.ReasonOutsideNetwork}, reason) {
		status = metav1.ConditionFalse
	}
	l := &v1alpha1.SubnetLease{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.SubnetLeaseSpec{Subnet: subnet, NodeName: node},
		Status:     v1alpha1.SubnetLeaseStatus{PublicIP: ip, BackendData: v1alpha1.BackendData{VTEPMAC: "02:00:00:00:00:02"}},
	}
	if reason != "" {
		l.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}}
	}
	return l
}

func bound() *v1alpha1.SubnetLease {
	return lease("10.244.2.0-24", "10.244.2.0/24", "n2", "172.30.0.12", v1alpha1.ReasonBound)
}

// Whatever the API server forgets, a peer that could be reached stays reachable until somebody says otherwise.
func TestViewForgetsNothingOnAbsence(t *testing.T) {
	for name, tc := range map[string]struct {
		event    func(*view)
		peers    int
		doubtful []string
	}{
		"nothing happens": {func(*view) {}, 1, nil},
		"released": {func(v *view) {
			v.setLease(lease("10.244.2.0-24", "10.244.2.0/24", "n2", "", v1alpha1.ReasonReleased), now)
		}, 0, nil},
		"found to overlap another lease": {func(v *view) {
			v.setLease(lease("10.244.2.0-24", "10.244.2.0/24", "n2", "172.30.0.12", v1alpha1.ReasonOverlaps), now)
		}, 0, nil},
		"deletion watched":      {func(v *view) { v.loseLease("10.244.2.0-24", true, now) }, 0, nil},
		"missing from a list":   {func(v *view) { v.loseLease("10.244.2.0-24", false, now) }, 1, []string{"10.244.2.0-24"}},
		"not in the first list": {func(v *view) { v.onlyThese(nil, now) }, 1, []string{"10.244.2.0-24"}},
		"status lost":           {func(v *view) { v.setLease(lease("10.244.2.0-24", "10.244.2.0/24", "n2", "", ""), now) }, 1, []string{"10.244.2.0-24"}},
		"subnet is another's now": {func(v *view) {
			v.setLease(lease("10.244.2.0-24", "10.244.2.0/24", "n9", "", v1alpha1.ReasonPending), now)
		}, 0, nil},
		"overlapped, and missing": {func(v *view) {
			v.loseLease("10.244.2.0-24", false, now)
			v.setLease(lease("10.244.2.0-25", "10.244.2.0/25", "n9", "172.30.0.19", v1alpha1.ReasonBound), now)
		}, 1, nil},
		"missing past retention": {func(v *view) { v.loseLease("10.244.2.0-24", false, now.Add(-time.Hour)) }, 0, nil},
		"missing, then back": {func(v *view) {
			v.loseLease("10.244.2.0-24", false, now)
			v.setLease(bound(), now)
		}, 1, nil},
		"unreadable": {func(v *view) {
			v.setLease(lease("10.244.2.0-24", "10.244.2.0/24", "n2", "not an address", v1alpha1.ReasonBound), now)
		}, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := newView()
			v.setNode(nodeNetwork())
			v.setLease(bound(), now)
			tc.event(v)
			got := v.take(now)
			if len(got.Peers) != tc.peers {
				t.Errorf("held %d leases, want %d", len(got.Peers), tc.peers)
			}
			if diff := cmp.Diff(tc.doubtful, got.Doubtful); diff != "" {
				t.Errorf("doubtful (-want +got):\n%s", diff)
			}
		})
	}
}

func TestViewKeepsTheNetworkOfANodeThatLostItsObject(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.loseNode(now)
	got := v.take(now)
	if got.Node == nil || got.NodeGone != now {
		t.Errorf("a missing NodeNetwork took the network with it: %+v", got)
	}
	v.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Generation = 2; n.Spec.Subnets = nil }))
	got = v.take(now)
	if !got.NoSubnet || len(got.Parsed.Subnets) != 1 {
		t.Errorf("a lost lease took the subnet of running pods: noSubnet %t, subnets %v", got.NoSubnet, got.Parsed.Subnets)
	}
	v.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Generation = 3 }))
	if got = v.take(now); got.NoSubnet {
		t.Error("the subnet is back, and still counts as lost")
	}
}

func TestViewRefusesWhatItCannotParse(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Generation = 2; n.Spec.Transmit = "unknown" }))
	got := v.take(now)
	if got.Parsed.Generation != 1 {
		t.Errorf("generation in force is %d, want the last good one, 1", got.Parsed.Generation)
	}
	want := []string{`n1: spec.transmit: "unknown" is not among spec.revisions`}
	if diff := cmp.Diff(want, got.Rejected); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
}

// A lease of another network, however bound, would take traffic away that is no pod's: to services, or to nodes.
func TestViewLeavesOutWhatIsNoPodNetwork(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.setLease(bound(), now)
	v.setLease(lease("10.96.0.0-16", "10.96.0.0/16", "n2", "172.30.0.12", v1alpha1.ReasonBound), now)
	v.setLease(lease("10.0.0.0-8", "10.0.0.0/8", "n2", "172.30.0.12", v1alpha1.ReasonBound), now)
	got := v.take(now)
	if len(got.Peers) != 1 || got.Peers[0].Subnet.String() != "10.244.2.0/24" {
		t.Errorf("peers %+v, want the one inside the pod network", got.Peers)
	}
	want := []string{"10.0.0.0-8: lies outside the pod networks", "10.96.0.0-16: lies outside the pod networks"}
	if diff := cmp.Diff(want, got.Rejected); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
	v.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) {
		n.Generation = 2
		n.Spec.PodNetworks = append(n.Spec.PodNetworks, "10.96.0.0/15")
	}))
	if got = v.take(now); len(got.Peers) != 2 {
		t.Errorf("peers %+v, want those of both pod networks", got.Peers)
	}
}

// The agent's own status writes come back as events; they must not cause passes.
func TestViewSaysWhenNothingChanged(t *testing.T) {
	v := newView()
	if !v.setNode(nodeNetwork()) || !v.setLease(bound(), now) {
		t.Fatal("first sight makes a difference")
	}
	if v.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.ResourceVersion = "2"; n.Status.BootID = "x" })) {
		t.Error("a status write counts as a change")
	}
	again := bound()
	again.ResourceVersion = "2"
	if v.setLease(again, now) {
		t.Error("a lease that says the same counts as a change")
	}
}

func TestViewRestoresWhatItSaved(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.setLease(bound(), now)
	saved, due := v.toSave(now)
	if !due {
		t.Fatal("nothing to save after a change")
	}
	if _, again := v.toSave(now); again {
		t.Error("saved twice for one change")
	}
	w := newView()
	w.restore(saved)
	got := w.take(now)
	if len(got.Peers) != 1 || got.Parsed.Transmit == nil || len(got.Doubtful) != 0 {
		t.Errorf("restored %+v, want the saved network", got)
	}
	if !slices.Equal(got.Peers[0].PublicIPs, v.take(now).Peers[0].PublicIPs) {
		t.Error("the peer's address was lost on disk")
	}
	if !w.setNode(nodeNetwork()) {
		t.Error("the API's confirmation of what came from disk counts as no change")
	}
}

func TestNodeIsPublishedByItsOwnLease(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.setLease(bound(), now)
	if v.take(now).published() {
		t.Error("published without a lease of its own")
	}
	v.setLease(lease("10.244.1.0-24", "10.244.1.0/24", "n1", "", v1alpha1.ReasonPending), now)
	if v.take(now).published() {
		t.Error("published by a lease without endpoint")
	}
	v.setLease(lease("10.244.1.0-24", "10.244.1.0/24", "n1", "172.30.0.11", v1alpha1.ReasonBound), now)
	if !v.take(now).published() {
		t.Error("not published by its own bound lease")
	}
}
