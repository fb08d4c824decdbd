package controller

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestRange: a range gives exactly as many leases as it has subnets; one node more is told so, and gets in when another one
// goes.
func TestRange(t *testing.T) {
	for name, tc := range map[string]struct {
		spec        string
		count       int
		first, last string
	}{
		"91 of a /16": {
			spec:  "network: 10.244.0.0/16\nsubnetLen: 24\nsubnetMin: 10.244.10.0\nsubnetMax: 10.244.100.0",
			count: 91, first: "10.244.10.0/24", last: "10.244.100.0/24",
		},
		"20 of a /16": {
			spec:  "network: 10.0.0.0/16\nsubnetMin: 10.0.1.0\nsubnetMax: 10.0.20.0",
			count: 20, first: "10.0.1.0/24", last: "10.0.20.0/24",
		},
		"15 of length 28": {
			spec:  "network: 10.244.0.0/24\nsubnetLen: 28",
			count: 15, first: "10.244.0.16/28", last: "10.244.0.240/28",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.startController()
			c.startAgents()
			c.apply(tc.spec + "\npodCIDRs: Ignore\nbackend: {type: vxlan}")
			c.nodes(tc.count)
			got := c.bound(tc.count)
			seen := map[string]bool{}
			for _, s := range got {
				seen[s] = true
				if p := netip.MustParsePrefix(s); p.Addr().Less(netip.MustParsePrefix(tc.first).Addr()) || netip.MustParsePrefix(tc.last).Addr().Less(p.Addr()) {
					t.Errorf("%s lies outside %s..%s", p, tc.first, tc.last)
				}
			}
			if len(seen) != tc.count || !seen[tc.first] || !seen[tc.last] {
				t.Errorf("%d subnets from %v to %v, want %d", len(seen), seen[tc.first], seen[tc.last], tc.count)
			}
			c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)

			late := fmt.Sprintf("n%d", tc.count+1)
			c.node(late, address(tc.count+1))
			c.assigned(late, "False", v1alpha1.ReasonSubnetsExhausted, fmt.Sprintf("all %d between %s and %s are taken", tc.count, tc.first, tc.last))
			for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReady} {
				c.condition(kind, map[string]string{v1alpha1.ConditionStalled: "True", v1alpha1.ConditionReady: "False"}[kind],
					v1alpha1.ReasonSubnetsExhausted, "1 nodes wait for a subnet, "+late)
			}
			if n := len(c.leases()); n != tc.count {
				t.Errorf("%d leases, want %d", n, tc.count)
			}

			freed := got["n7"]
			c.deleteNode("n7")
			c.eventually("the waiting node's subnet", func() error {
				if s := c.subnets()[late]; s != freed {
					return fmt.Errorf("%s has %q, want %q", late, s, freed)
				}
				return nil
			})
			c.eventually("event", func() error { return c.hasEvent("SubnetRecycled", "waited for node n7 and goes to node "+late) })
			c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
			c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
			if got := c.config().Status.Subnets; got.Free != 0 || int(got.Total) != tc.count {
				t.Errorf("subnets: %+v, want %d and none free", got, tc.count)
			}
		})
	}
}

// assigned waits for a NodeNetwork's condition SubnetsAssigned.
func (c *cluster) assigned(node, status, reason string, parts ...string) {
	c.t.Helper()
	c.eventually("SubnetsAssigned of "+node, func() error {
		nn, err := c.nodeNetwork(node)
		if err != nil {
			return err
		}
		_, err = hasCondition(nn.Status.Conditions, v1alpha1.ConditionSubnetsAssigned, status, reason, parts...)
		return err
	})
}

// TestAdoption: with podCIDRs handed out as kube-controller-manager does, first subnet first and a moment after the Node
// appears, every lease is its node's podCIDR.
func TestAdoption(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply("network: 10.244.0.0/16\nbackend: {type: vxlan}")
	const count = 12
	for i := range count {
		c.node(fmt.Sprintf("n%d", i), address(i))
	}
	c.assigned("n0", "False", v1alpha1.ReasonWaitingForPodCIDR)
	if n := len(c.leases()); n != 0 {
		t.Errorf("%d leases before any podCIDR, want 0", n)
	}
	for i := range count {
		time.Sleep(time.Duration(i*20) * time.Millisecond)
		c.setPodCIDR(fmt.Sprintf("n%d", i), fmt.Sprintf("10.244.%d.0/24", i))
	}
	for name, got := range c.bound(count) {
		var i int
		fmt.Sscanf(name, "n%d", &i)
		if want := fmt.Sprintf("10.244.%d.0/24", i); got != want {
			t.Errorf("%s has %s, want its podCIDR %s", name, got, want)
		}
	}
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	l, err := c.lease("10.244.0.0-24") // outside subnetMin..subnetMax
	if err != nil || l.Annotations[v1alpha1.AdoptedAnnotation] != "true" {
		t.Errorf("lease of the first subnet: %v, annotations %v, want it adopted", err, l.Annotations)
	}

	// A podCIDR that overlaps a lease is told, not bound; one outside the network is not adopted.
	c.node("twin", address(100), "10.244.4.0/23")
	c.assigned("twin", "False", v1alpha1.ReasonPodCIDROverlaps, "10.244.4.0/23", "node n4")
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonPodCIDROverlaps, "twin")
	c.node("stranger", address(101), "192.168.7.0/24")
	c.assigned("stranger", "True", v1alpha1.ReasonAssigned, "192.168.7.0/24 does not fit into network")

	// Nobody hands one out: after ten seconds the range serves.
	start := time.Now()
	c.node("alone", address(102))
	c.assigned("alone", "False", v1alpha1.ReasonWaitingForPodCIDR)
	c.assigned("alone", "True", v1alpha1.ReasonAssigned)
	if d := time.Since(start); d < 8*time.Second || d > 13*time.Second {
		t.Errorf("waited %s for a podCIDR, want about 10 s", d)
	}
}

func (c *cluster) setPodCIDR(node, cidr string) {
	c.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q]}}`, cidr, cidr)
	n := &corev1.Node{}
	n.Name = node
	if err := c.Patch(context.Background(), n, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		c.t.Fatalf("set podCIDR: %v", err)
	}
}

// TestReservation: a lease that a user makes is the named node's subnet, or says why not.
func TestReservation(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(2)
	c.bound(2)

	// For a node that comes later, also of another length.
	c.reserve("10.244.50.0/24", "n9")
	c.leaseState("10.244.50.0-24", "False", v1alpha1.ReasonPending, "n9, which does not exist")
	c.reserve("10.244.64.0/22", "n8")
	c.node("n9", address(9))
	c.node("n8", address(8))
	got := c.bound(4)
	if got["n9"] != "10.244.50.0/24" || got["n8"] != "10.244.64.0/22" {
		t.Errorf("subnets %v, want the reserved ones", got)
	}
	c.leaseState("10.244.50.0-24", "True", v1alpha1.ReasonBound)
	if err := c.overlap(); err != nil {
		t.Error(err)
	}

	// In the way of a lease, and outside.
	c.reserve("10.244.0.0/23", "n7")
	c.leaseState("10.244.0.0-23", "False", v1alpha1.ReasonOverlaps, "10.244.1.0/24 of node n1")
	c.reserve("10.245.1.0/24", "n6")
	c.leaseState("10.245.1.0-24", "False", v1alpha1.ReasonOutsideNetwork, "10.244.0.0/16")
	c.node("n7", address(7))
	c.node("n6", address(6))
	c.assigned("n7", "False", v1alpha1.ReasonReservationOverlaps, "10.244.0.0/23", "n1")
	c.assigned("n6", "False", v1alpha1.ReasonOutsideNetwork, "10.245.1.0/24")
	c.leaseState("10.244.1.0-24", "True", v1alpha1.ReasonBound)

	// The user takes it back: the node gets another one.
	c.deleteLease("10.244.0.0-23")
	c.deleteLease("10.245.1.0-24")
	c.bound(6)
	// For a node that has a subnet, it waits.
	c.reserve("10.244.90.0/24", "n1")
	c.leaseState("10.244.90.0-24", "False", v1alpha1.ReasonPending, "already has lease 10.244.1.0-24")
	// A reservation outlives its node, without a limit in time, and is the user's to delete.
	c.deleteNode("n9")
	c.leaseState("10.244.50.0-24", "False", v1alpha1.ReasonReleased, "stays reserved")
	c.deleteLease("10.244.50.0-24")
	c.eventually("deletion", func() error {
		if l, err := c.lease("10.244.50.0-24"); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("lease is still there: %v %v", l.Finalizers, err)
		}
		return nil
	})
}

func (c *cluster) reserve(subnet, node string) {
	c.t.Helper()
	if err := c.tryReserve(subnet, node); err != nil {
		c.t.Fatalf("reserve: %v", err)
	}
}
