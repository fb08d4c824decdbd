package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestTeardown: a network in use is held until the user confirms; then live agents clean up before anything goes.
func TestTeardown(t *testing.T) {
	c := newCluster(t)
	stop := c.startController()
	a := c.startAgents()
	c.apply(plain)
	c.nodes(3)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)

	c.delete(c.config())
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonTeardownPending, "3 nodes", "net.hopsack.dev/teardown: confirmed")
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonTeardownPending)
	c.node("n4", address(4)) // the network goes on
	c.bound(4)
	c.leaseState("10.244.4.0-24", "True", v1alpha1.ReasonBound)

	// n3's kubelet is gone, n2 is alive and silent.
	c.notReady("n3")
	a.silence("n3", true)
	a.silence("n2", true)
	cfg := c.config()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"net.hopsack.dev/teardown":"confirmed"}}}`))
	if err := c.Patch(context.Background(), cfg, patch); err != nil {
		t.Fatal(err)
	}
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonTearingDown, "1 nodes", "n2")
	if n := len(c.leases()); n != 4 {
		t.Errorf("%d leases while an agent is still cleaning up, want 4", n)
	}
	// A NodeNetwork that somebody deletes does not make its node one that nobody asks.
	stop()
	c.delete(&v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	c.startController()
	c.eventually("NodeNetwork again", func() error {
		nn, err := c.nodeNetwork("n2")
		if err == nil && nn.Spec.Teardown != v1alpha1.TeardownRequested {
			err = errors.New("its agent is not asked to clean up")
		}
		return err
	})
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonTearingDown, "1 nodes", "n2")
	a.silence("n2", false)
	c.gone()
	c.eventually("event", func() error { return c.hasEvent("NodesNotCleanedUp", "n3") })
	for _, node := range []string{"n1", "n2"} { // n2 was the last
		if err := c.unavailable(node, "True", v1alpha1.ReasonCleanedUp); err != nil {
			t.Error(err)
		}
	}
}

// gone waits until nothing of the network is left.
func (c *cluster) gone() {
	c.t.Helper()
	c.eventually("removal", func() error {
		if n := len(c.dump()); n > 0 {
			return fmt.Errorf("%d leases and nodenetworks are left", n)
		}
		cfg := &v1alpha1.NetworkConfig{}
		if err := c.Get(context.Background(), client.ObjectKey{Name: "default"}, cfg); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("networkconfig is left"), err)
		}
		return nil
	})
}

func (c *cluster) notReady(node string) {
	c.t.Helper()
	n := &corev1.Node{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: node}, n); err != nil {
		c.t.Fatal(err)
	}
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			n.Status.Conditions[i].Status = corev1.ConditionUnknown
		}
	}
	if err := c.Status().Update(context.Background(), n); err != nil {
		c.t.Fatal(err)
	}
}

// TestDeleteUnused: without a node that uses it, a network goes at once, released leases included.
func TestDeleteUnused(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(2)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.deleteNode("n1")
	c.deleteNode("n2")
	c.leaseState("10.244.1.0-24", "False", v1alpha1.ReasonReleased)
	c.leaseState("10.244.2.0-24", "False", v1alpha1.ReasonReleased)
	c.delete(c.config())
	c.gone()
}
