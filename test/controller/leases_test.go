package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

func (c *cluster) tryReserve(subnet, node string) error {
	l := &v1alpha1.SubnetLease{Spec: v1alpha1.SubnetLeaseSpec{Subnet: subnet, NodeName: node}}
	l.Name = network.LeaseName(netip.MustParsePrefix(subnet))
	return c.Create(context.Background(), l)
}

func (c *cluster) deleteLease(name string) {
	c.t.Helper()
	c.delete(&v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// leaseState waits for the condition Ready of a lease.
func (c *cluster) leaseState(name, status, reason string, parts ...string) {
	c.t.Helper()
	c.eventually("lease "+name, func() error {
		l, err := c.lease(name)
		if err != nil {
			return err
		}
		_, err = hasCondition(l.Status.Conditions, v1alpha1.ConditionReady, status, reason, parts...)
		return err
	})
}

// hasEvent looks for an event whose note holds part.
func (c *cluster) hasEvent(reason, part string) error {
	var list eventsv1.EventList
	if err := c.List(context.Background(), &list); err != nil {
		return err
	}
	for _, e := range list.Items {
		if e.Reason == reason && strings.Contains(e.Note, part) {
			return nil
		}
	}
	return fmt.Errorf("no event %s with %q among %d", reason, part, len(list.Items))
}

// TestReturn: a node that goes is dropped by its peers and finds its subnet again when it comes back.
func TestReturn(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(3)
	before := c.bound(3)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	name := strings.Replace(before["n2"], "/", "-", 1)
	c.deleteNode("n2")
	c.leaseState(name, "False", v1alpha1.ReasonReleased, "node n2 is gone", "until")
	l, err := c.lease(name)
	if err != nil || l.Status.PublicIP != "" || l.Status.ReleasedAt == nil {
		t.Errorf("released lease: %v, status %+v, want no endpoint and a time", err, l.Status)
	}
	c.eventually("NodeNetwork gone", func() error {
		if _, err := c.nodeNetwork("n2"); err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	c.node("n4", address(4)) // does not get it
	c.node("n2", address(2))
	after := c.bound(4)
	if after["n2"] != before["n2"] {
		t.Errorf("n2 came back to %s, want %s", after["n2"], before["n2"])
	}
	c.leaseState(name, "True", v1alpha1.ReasonBound)

	// A Node made anew under the same name: same subnet, and the old machine's report does not count.
	a, err := c.nodeNetwork("n3")
	if err != nil {
		t.Fatal(err)
	}
	c.deleteNode("n3")
	c.node("n3", address(33))
	c.eventually("new UID", func() error {
		nn, err := c.nodeNetwork("n3")
		if err != nil {
			return err
		}
		if nn.Spec.NodeUID == a.Spec.NodeUID || nn.Status.NodeUID != nn.Spec.NodeUID {
			return fmt.Errorf("UID %s, reported %s", nn.Spec.NodeUID, nn.Status.NodeUID)
		}
		return nil
	})
	c.eventually("new address", func() error {
		l, err := c.lease(strings.Replace(before["n3"], "/", "-", 1))
		if err != nil {
			return err
		}
		if l.Status.PublicIP != address(33) {
			return fmt.Errorf("publishes %q, want %q", l.Status.PublicIP, address(33))
		}
		return nil
	})
}

// TestRetention: after its time a released lease goes, and its subnet is free.
func TestRetention(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain + "retentionSeconds: 2")
	c.nodes(2)
	c.bound(2)
	start := time.Now()
	c.deleteNode("n1")
	c.leaseState("10.244.1.0-24", "False", v1alpha1.ReasonReleased)
	c.eventually("lease gone", func() error {
		if _, err := c.lease("10.244.1.0-24"); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})
	if d := time.Since(start); d < time.Second || d > 5*time.Second {
		t.Errorf("lease went after %s, want about 2 s", d)
	}
	c.node("n3", address(3))
	if got := c.bound(2)["n3"]; got != "10.244.1.0/24" {
		t.Errorf("n3 has %s, want the subnet that is free again", got)
	}
}

// TestDeletedByHand: what users delete is held or comes back with the same content.
func TestDeletedByHand(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(2)
	c.bound(2)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)

	before, err := c.nodeNetwork("n1")
	if err != nil {
		t.Fatal(err)
	}
	c.delete(before.DeepCopy())
	c.eventually("NodeNetwork again", func() error {
		nn, err := c.nodeNetwork("n1")
		if err != nil {
			return err
		}
		if nn.UID == before.UID {
			return errors.New("not deleted yet")
		}
		if diff := cmp.Diff(before.Spec, nn.Spec); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	c.leaseState("10.244.1.0-24", "True", v1alpha1.ReasonBound)
	if err := c.unavailable("n1", "False", "HopsackIsUp"); err != nil {
		t.Error(err)
	}

	c.deleteLease("10.244.2.0-24")
	c.leaseState("10.244.2.0-24", "True", v1alpha1.ReasonInUse, "held while node n2 uses")
	l, err := c.lease("10.244.2.0-24")
	if err != nil || l.Status.PublicIP != address(2) {
		t.Errorf("held lease: %v, publishes %q, want %q", err, l.Status.PublicIP, address(2))
	}
	c.deleteNode("n2")
	c.eventually("lease gone with its node", func() error {
		if _, err := c.lease("10.244.2.0-24"); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})

	// Torn out with its finalizer: the node uses the subnet, so the lease is made again.
	l, err = c.lease("10.244.1.0-24")
	if err != nil {
		t.Fatal(err)
	}
	uid := l.UID
	l.Finalizers = nil
	if err := c.Update(context.Background(), l); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(context.Background(), l); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	c.eventually("lease again", func() error {
		l, err := c.lease("10.244.1.0-24")
		if err != nil {
			return err
		}
		if len(l.Finalizers) == 0 || l.Status.PublicIP != address(1) {
			return fmt.Errorf("UID %s (was %s), finalizers %v, publishes %q", l.UID, uid, l.Finalizers, l.Status.PublicIP)
		}
		return nil
	})
}

// TestEndpoint: a node publishes only addresses that are its own by somebody else's word, and only such as nobody else has.
func TestEndpoint(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.startAgents()
	c.apply(plain + "interface: {overrides: [{nodeSelector: {matchLabels: {a: b}}, cidrs: [192.168.0.0/24]}]}")
	a.setPublicIP("n2", "9.9.9.9")
	c.nodes(3)
	c.bound(3)
	c.leaseState("10.244.1.0-24", "True", v1alpha1.ReasonBound)
	c.leaseState("10.244.2.0-24", "False", v1alpha1.ReasonPublicIPRejected, "9.9.9.9")
	c.assigned("n2", "False", v1alpha1.ReasonPublicIPRejected, "9.9.9.9")
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonPublicIPRejected, "n2")

	a.setPublicIP("n2", "192.168.0.7") // inside interface.cidrs
	c.publishes("10.244.2.0-24", "192.168.0.7")
	c.assigned("n2", "True", v1alpha1.ReasonAssigned)

	a.setPublicIP("n3", "192.168.0.7") // n2's
	c.assigned("n3", "False", v1alpha1.ReasonDuplicatePublicIP, "192.168.0.7", "node n2")
	c.publishes("10.244.3.0-24", address(3)) // what it published before stays
	c.publishes("10.244.2.0-24", "192.168.0.7")

	c.annotate("n3", v1alpha1.PublicIPAnnotation, "the gateway")
	c.annotate("n1", v1alpha1.PublicIPAnnotation, "the gateway")
	c.assigned("n1", "True", v1alpha1.ReasonAssigned, `"the gateway" is ignored`)
	c.annotate("n3", v1alpha1.PublicIPAnnotation, "203.0.113.9,203.0.113.10")
	a.setPublicIP("n3", "203.0.113.9")
	c.publishes("10.244.3.0-24", "203.0.113.9")
	nn, err := c.nodeNetwork("n3")
	if err != nil || len(nn.Spec.PublicIPs) != 1 || nn.Spec.PublicIPs[0] != "203.0.113.9" {
		t.Errorf("nodenetwork: %v, publicIPs %v", err, nn.Spec.PublicIPs)
	}
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)

	// A node's own address inside the pod network.
	c.node("n4", "10.244.200.1")
	c.assigned("n4", "False", v1alpha1.ReasonNodeAddressOverlaps, "10.244.200.1")
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonNodeAddressOverlaps, "n4")
	c.leaseState("10.244.1.0-24", "True", v1alpha1.ReasonBound)
}

func (c *cluster) publishes(lease, ip string) {
	c.t.Helper()
	c.eventually("endpoint of "+lease, func() error {
		l, err := c.lease(lease)
		if err != nil {
			return err
		}
		if l.Status.PublicIP != ip {
			return fmt.Errorf("publishes %q, want %q", l.Status.PublicIP, ip)
		}
		return nil
	})
}

func (c *cluster) annotate(node, key, value string) {
	c.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		c.t.Fatal(err)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if err := c.Patch(context.Background(), n, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		c.t.Fatalf("annotate node: %v", err)
	}
}
