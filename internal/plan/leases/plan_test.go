package leases_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
)

func wantBound(t *testing.T, w *world, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, w.bound()); diff != "" {
		t.Errorf("bound subnets (-want +got):\n%s", diff)
	}
}

func wantProblem(t *testing.T, p leases.Plan, node, reason string, parts ...string) {
	t.Helper()
	got := p.Problems[node]
	if got.Reason != reason {
		t.Errorf("problem of %s: %+v, want %s", node, got, reason)
	}
	for _, part := range parts {
		if !strings.Contains(got.Message, part) {
			t.Errorf("problem of %s says %q, want %q in it", node, got.Message, part)
		}
	}
}

func TestLowestFirstAndExhaustion(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{SubnetMin: "10.244.10.0", SubnetMax: "10.244.12.0"})
	for i := range 5 {
		w.node(fmt.Sprintf("n%d", i))
	}
	p := w.settle(t)
	wantBound(t, w, map[string]string{"n0": "10.244.10.0/24", "n1": "10.244.11.0/24", "n2": "10.244.12.0/24"})
	wantProblem(t, p, "n3", v1alpha1.ReasonSubnetsExhausted, "all 3 between 10.244.10.0/24 and 10.244.12.0/24")
	if diff := cmp.Diff([]string{"n3", "n4"}, p.Exhausted); diff != "" {
		t.Errorf("exhausted: %s", diff)
	}
	if p.Total != 3 || p.Used != 3 {
		t.Errorf("%d of %d used, want 3 of 3", p.Used, p.Total)
	}

	// One goes: its subnet is recycled at once, because nothing else is free.
	delete(w.cluster.Nodes, "n1")
	for range w.pass(w.view(), true) {
	}
	p = leases.Make(w.cfg, w.cluster, w.now)
	if diff := cmp.Diff([]leases.Recycled{{Prefix: prefix("10.244.11.0/24"), From: "n1", To: "n3"}}, p.Recycled, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("recycled: %s", diff)
	}
	p = w.settle(t)
	wantBound(t, w, map[string]string{"n0": "10.244.10.0/24", "n3": "10.244.11.0/24", "n2": "10.244.12.0/24"})
	wantProblem(t, p, "n4", v1alpha1.ReasonSubnetsExhausted)

	// A wider range lets the last one in.
	w.cfg = config(t, v1alpha1.NetworkConfigSpec{SubnetMin: "10.244.10.0", SubnetMax: "10.244.13.0"})
	if p = w.settle(t); len(p.Problems) > 0 {
		t.Errorf("problems: %v", p.Problems)
	}
}

// TestRecycleOldest: of several subnets that wait for their nodes, the one released first goes first.
func TestRecycleOldest(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{SubnetMax: "10.244.4.0"})
	for i := 1; i <= 4; i++ {
		w.node(fmt.Sprintf("n%d", i))
	}
	w.settle(t)
	for _, name := range []string{"n3", "n1", "n2"} {
		delete(w.cluster.Nodes, name)
		w.settle(t)
		w.now = w.now.Add(time.Minute)
	}
	w.node("a")
	w.settle(t)
	w.node("b")
	w.settle(t)
	wantBound(t, w, map[string]string{"n4": "10.244.4.0/24", "a": "10.244.3.0/24", "b": "10.244.1.0/24"})
}

func TestRetention(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{})
	w.node("n1")
	w.node("n2")
	w.settle(t)
	delete(w.cluster.Nodes, "n1")
	p := w.settle(t)
	if want := w.now.Add(24 * time.Hour); !p.Next.Equal(want) {
		t.Errorf("next pass at %s, want at the end of the retention, %s", p.Next, want)
	}
	if got := p.States[prefix("10.244.1.0/24")]; got.Reason != v1alpha1.ReasonReleased || !strings.Contains(got.Message, "n1 is gone") {
		t.Errorf("state %+v", got)
	}
	w.now = w.now.Add(24*time.Hour - time.Second)
	w.node("n3")
	w.settle(t) // while others are free, n1's is nobody else's
	w.node("n1")
	w.settle(t)
	wantBound(t, w, map[string]string{"n1": "10.244.1.0/24", "n2": "10.244.2.0/24", "n3": "10.244.3.0/24"})

	delete(w.cluster.Nodes, "n1")
	w.settle(t)
	w.now = w.now.Add(24 * time.Hour)
	if p := leases.Make(w.cfg, w.cluster, w.now); len(p.Delete) != 1 || p.Used != 2 {
		t.Errorf("at the end of its time: delete %v, %d used, want one deleted and two used", p.Delete, p.Used)
	}
	w.settle(t)
	if _, ok := w.cluster.Leases[prefix("10.244.1.0/24")]; ok {
		t.Error("released lease is still there after its time")
	}

	// Without retention it goes at once.
	zero := int32(0)
	w.cfg = config(t, v1alpha1.NetworkConfigSpec{RetentionSeconds: &zero})
	delete(w.cluster.Nodes, "n2")
	w.settle(t)
	if _, ok := w.cluster.Leases[prefix("10.244.2.0/24")]; ok {
		t.Error("lease is still there although nothing is retained")
	}
}

func TestAdoption(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{PodCIDRs: v1alpha1.PodCIDRsAuto, SubnetMin: "10.244.8.0"})
	w.node("first", "10.244.0.0/24") // outside subnetMin..subnetMax
	w.node("late")
	w.node("outside", "192.168.0.0/24")
	w.node("wide", "10.244.0.0/8") // too wide for a lease
	p := w.settle(t)
	wantBound(t, w, map[string]string{"first": "10.244.0.0/24", "outside": "10.244.8.0/24", "wide": "10.244.9.0/24"})
	wantProblem(t, p, "late", v1alpha1.ReasonWaitingForPodCIDR)
	if want := w.now.Add(leases.PodCIDRWait); !p.Next.Equal(want) {
		t.Errorf("next pass at %s, want %s", p.Next, want)
	}
	if l := w.cluster.Leases[prefix("10.244.0.0/24")]; !l.Adopted {
		t.Errorf("lease %+v is not marked as adopted", l)
	}

	// What is handed out in this pass leaves alone what others are about to adopt.
	w.now = w.now.Add(leases.PodCIDRWait)
	w.node("adopts", "10.244.10.0/24")
	w.settle(t)
	if got := w.bound(); got["late"] != "10.244.11.0/24" || got["adopts"] != "10.244.10.0/24" {
		t.Errorf("late has %s and adopts %s", got["late"], got["adopts"])
	}

	// A podCIDR that comes after a subnet was chosen changes nothing.
	n := w.cluster.Nodes["late"]
	n.PodCIDRs = []netip.Prefix{prefix("10.244.77.0/24")}
	w.cluster.Nodes["late"] = n
	w.settle(t)
	if got := w.bound()["late"]; got != "10.244.11.0/24" {
		t.Errorf("late has %s", got)
	}

	w.node("clash", "10.244.10.128/25")
	p = w.settle(t)
	wantProblem(t, p, "clash", v1alpha1.ReasonPodCIDROverlaps, "10.244.10.128/25", "node adopts")
}

// TestAdoptionOfReleased: kube-controller-manager hands a gone node's podCIDR to the next one long before retention ends.
func TestAdoptionOfReleased(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{PodCIDRs: v1alpha1.PodCIDRsAuto})
	w.node("old", "10.244.0.0/24")
	w.settle(t)
	delete(w.cluster.Nodes, "old")
	w.settle(t)
	w.node("new", "10.244.0.0/24")
	w.settle(t)
	wantBound(t, w, map[string]string{"new": "10.244.0.0/24"})
	// The old one comes back with another.
	w.node("old", "10.244.1.0/24")
	w.settle(t)
	wantBound(t, w, map[string]string{"new": "10.244.0.0/24", "old": "10.244.1.0/24"})

	// A node that comes back with another podCIDR gets that, and what it had is free.
	delete(w.cluster.Nodes, "old")
	w.settle(t)
	w.node("old", "10.244.2.0/24")
	w.settle(t)
	wantBound(t, w, map[string]string{"new": "10.244.0.0/24", "old": "10.244.2.0/24"})
	if _, ok := w.cluster.Leases[prefix("10.244.1.0/24")]; ok {
		t.Error("the lease nobody comes back to is still there")
	}

	// One that comes back with none waits, and gets what it had.
	delete(w.cluster.Nodes, "old")
	w.settle(t)
	w.node("old")
	wantProblem(t, w.settle(t), "old", v1alpha1.ReasonWaitingForPodCIDR)
	w.now = w.now.Add(leases.PodCIDRWait)
	w.settle(t)
	wantBound(t, w, map[string]string{"new": "10.244.0.0/24", "old": "10.244.2.0/24"})
}

func TestReservation(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{SubnetMax: "10.244.9.0"})
	w.reserve("10.244.1.0/24", "r1")
	w.reserve("10.244.64.0/22", "r2") // another length, outside subnetMin..subnetMax
	w.reserve("10.245.0.0/24", "r3")
	w.reserve("10.244.2.128/25", "r4")
	w.reserve("10.244.2.0/24", "r5")
	p := w.settle(t)
	for subnet, reason := range map[string]string{
		"10.244.1.0/24": v1alpha1.ReasonPending, "10.245.0.0/24": v1alpha1.ReasonOutsideNetwork,
		"10.244.2.128/25": v1alpha1.ReasonOverlaps, "10.244.2.0/24": v1alpha1.ReasonOverlaps,
	} {
		if got := p.States[prefix(subnet)]; got.Reason != reason {
			t.Errorf("state of %s: %+v, want %s", subnet, got, reason)
		}
	}
	for _, name := range []string{"n1", "r1", "r2", "r3", "r4", "r5"} {
		w.node(name)
	}
	p = w.settle(t)
	wantBound(t, w, map[string]string{"n1": "10.244.3.0/24", "r1": "10.244.1.0/24", "r2": "10.244.64.0/22"})
	wantProblem(t, p, "r3", v1alpha1.ReasonOutsideNetwork, "10.245.0.0/24")
	wantProblem(t, p, "r4", v1alpha1.ReasonReservationOverlaps, "10.244.2.0-24 of node r5")
	if l := w.cluster.Leases[prefix("10.244.1.0/24")]; !l.Held || !l.Reserved {
		t.Errorf("lease %+v is not held and marked as reserved", l)
	}
	// A reservation outlives its node, retention and exhaustion, and is given back to its user.
	delete(w.cluster.Nodes, "r1")
	w.now = w.now.Add(100 * 24 * time.Hour)
	w.settle(t)
	w.now = w.now.Add(100 * 24 * time.Hour)
	for i := range 12 {
		w.node(fmt.Sprintf("late%d", i))
	}
	w.settle(t)
	if l := w.cluster.Leases[prefix("10.244.1.0/24")]; l.Held || !l.Released() || l.Node != "r1" {
		t.Errorf("lease %+v, want it released and not held", l)
	}
	w.node("r1")
	w.settle(t)
	if got := w.bound()["r1"]; got != "10.244.1.0/24" {
		t.Errorf("r1 came back to %q", got)
	}
}

// TestLostObjects: what is in use is found again from what is left.
func TestLostObjects(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{})
	w.node("n1")
	w.node("n2")
	w.settle(t)
	before := w.bound()

	w.dropNodeNetwork("n1")
	w.reserve("10.244.0.0/20", "x") // overlaps both: what was bound stays bound
	w.settle(t)
	wantBound(t, w, before)
	w.dropLease(prefix("10.244.0.0/20"))

	w.dropLease(prefix("10.244.2.0/24"))
	w.settle(t)
	wantBound(t, w, before)
	if _, ok := w.cluster.Leases[prefix("10.244.2.0/24")]; !ok {
		t.Error("the lease of a subnet in use was not made again")
	}

	// Its name taken by another node meanwhile: the subnet is not bound twice.
	w.dropLease(prefix("10.244.2.0/24"))
	w.reserve("10.244.2.0/24", "n3")
	w.settle(t)
	wantBound(t, w, map[string]string{"n1": "10.244.1.0/24", "n2": "10.244.3.0/24"})

	// A lease without a finalizer gets it back.
	l := w.cluster.Leases[prefix("10.244.1.0/24")]
	l.Held = false
	w.setLease(l)
	w.settle(t)
	if l := w.cluster.Leases[prefix("10.244.1.0/24")]; !l.Held || l.Reserved {
		t.Errorf("lease %+v, want it held, and not taken for a reservation", l)
	}
}

func TestDeletedInUse(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{})
	w.node("n1")
	w.settle(t)
	l := w.cluster.Leases[prefix("10.244.1.0/24")]
	l.Deleting = true
	w.setLease(l)
	w.settle(t)
	if l := w.cluster.Leases[l.Prefix]; !l.Held || !l.Published {
		t.Errorf("lease in use: %+v, want it held", l)
	}
	l.Published = false
	w.setLease(l)
	w.dropNodeNetwork("n1") // as the deletion of the CRDs does to both: nobody can say any more that the lease was not bound
	w.settle(t)
	wantBound(t, w, map[string]string{"n1": "10.244.1.0/24"})
	delete(w.cluster.Nodes, "n1")
	w.settle(t)
	if _, ok := w.cluster.Leases[l.Prefix]; ok {
		t.Error("deleted lease outlives its node")
	}
}

func TestNodeAddressInside(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{})
	w.node("n1")
	n := w.cluster.Nodes["n1"]
	n.InternalIPs = []netip.Addr{netip.MustParseAddr("10.244.7.7")}
	w.cluster.Nodes["n1"] = n
	wantProblem(t, w.settle(t), "n1", v1alpha1.ReasonNodeAddressOverlaps, "10.244.7.7", "10.244.0.0/16")
	wantBound(t, w, map[string]string{})
}

func TestSettle(t *testing.T) {
	take := func(s string) leases.Take { return leases.Take{Prefix: prefix(s), Node: "n"} }
	live := []netip.Prefix{prefix("10.0.1.0/24"), prefix("10.0.2.0/24"), prefix("10.0.2.128/25"), prefix("10.0.4.0/22"), prefix("10.0.5.0/24")}
	bind, lost := leases.Settle([]leases.Take{take("10.0.1.0/24"), take("10.0.2.0/24"), take("10.0.2.128/25"), take("10.0.5.0/24"), take("10.0.9.0/24")}, live)
	if diff := cmp.Diff([]leases.Take{take("10.0.1.0/24")}, bind, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("bind: %s", diff)
	}
	var got []string
	for _, l := range lost {
		got = append(got, fmt.Sprint(l.Prefix, " ", l.Other))
	}
	want := []string{"10.0.2.0/24 10.0.2.128/25", "10.0.2.128/25 10.0.2.0/24", "10.0.5.0/24 10.0.4.0/22", "10.0.9.0/24 invalid Prefix"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lost: %s", diff)
	}
}

// TestIPv6 shows that families are data: two ranges, one subnet of each.
func TestIPv6(t *testing.T) {
	w := newWorld(t, v1alpha1.NetworkConfigSpec{})
	r := w.cfg.Ranges[0]
	r.Network, r.SubnetLen = prefix("fd00:10::/48"), 64
	r.First, r.Last = netip.MustParseAddr("fd00:10:0:1::"), netip.MustParseAddr("fd00:10:0:2::")
	w.cfg.Ranges = append(w.cfg.Ranges, r)
	for i := 1; i <= 3; i++ {
		w.node(fmt.Sprintf("n%d", i))
	}
	p := w.settle(t)
	want := []plan.Subnet{{Prefix: prefix("10.244.1.0/24"), State: v1alpha1.SubnetBound}, {Prefix: prefix("fd00:10:0:1::/64"), State: v1alpha1.SubnetBound}}
	if diff := cmp.Diff(want, w.cluster.NodeNetworks["n1"].Subnets, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("subnets of n1: %s", diff)
	}
	wantProblem(t, p, "n3", v1alpha1.ReasonSubnetsExhausted, "fd00:10:0:1::/64")
	if p.Total != 257 || p.Used != 5 {
		t.Errorf("%d of %d used, want 5 of 257", p.Used, p.Total)
	}
}
