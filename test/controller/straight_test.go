package controller

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

const plain = `
network: 10.244.0.0/16
podCIDRs: Ignore
backend: {type: vxlan}
`

// TestStraight: from a NetworkConfig and three nodes to published leases and truthful conditions.
func TestStraight(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.apply(plain)
	c.nodes(3)
	c.bound(3)
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonNodesNotReady, "3 of 3 nodes", "n1")
	c.condition(v1alpha1.ConditionProgressing, "False", v1alpha1.ReasonSettled)
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.condition(v1alpha1.ConditionAgentsConfined, "True", v1alpha1.ReasonConfined)
	c.eventually("NetworkUnavailable before the agent's word", func() error { return c.unavailable("n1", "True", "HopsackIsStarting") })

	c.startAgents()
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady, "3 nodes")
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("n%d", i)
		c.eventually("lease", func() error {
			l, err := c.lease(fmt.Sprintf("10.244.%d.0-24", i))
			if err != nil {
				return err
			}
			if l.Status.PublicIP != address(i) || l.Status.BackendType != v1alpha1.BackendVXLAN || l.Status.BackendData.VTEPMAC == "" {
				return fmt.Errorf("lease publishes %+v", l.Status)
			}
			_, err = hasCondition(l.Status.Conditions, v1alpha1.ConditionReady, "True", v1alpha1.ReasonBound)
			return err
		})
		c.eventually("NetworkUnavailable", func() error { return c.unavailable(name, "False", "HopsackIsUp") })
		c.eventually("SubnetsAssigned", func() error {
			nn, err := c.nodeNetwork(name)
			if err != nil {
				return err
			}
			_, err = hasCondition(nn.Status.Conditions, v1alpha1.ConditionSubnetsAssigned, "True", v1alpha1.ReasonAssigned, "10.244.")
			return err
		})
	}
	cfg := c.config()
	if got, want := cfg.Status.Subnets, (v1alpha1.SubnetCounts{Total: 255, Used: 3, Free: 252}); got != want {
		t.Errorf("subnets: got %+v, want %+v", got, want)
	}
	if got, want := cfg.Status.Nodes, (v1alpha1.NodeCounts{Total: 3, Live: 3, Ready: 3, Prepared: 3, Verified: 3, Switched: 3}); got != want {
		t.Errorf("nodes: got %+v, want %+v", got, want)
	}
}

// unavailable checks the Node condition NetworkUnavailable.
func (c *cluster) unavailable(node, status, reason string) error {
	n := &corev1.Node{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: node}, n); err != nil {
		return err
	}
	for _, got := range n.Status.Conditions {
		if got.Type == corev1.NodeNetworkUnavailable {
			if string(got.Status) == status && got.Reason == reason {
				return nil
			}
			return fmt.Errorf("NetworkUnavailable is %s %s, want %s %s", got.Status, got.Reason, status, reason)
		}
	}
	return fmt.Errorf("node %s has no condition NetworkUnavailable", node)
}
