package controller

import (
	"fmt"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestThousandNodes: nodes that join all at once cost a fixed number of writes each and one live list per pass, not one per
// node.
func TestThousandNodes(t *testing.T) {
	const count = 1000
	c := newCluster(t)
	c.nodes(count)
	w := newWire()
	start := time.Now()
	c.startController(w.through)
	c.apply("network: 10.240.0.0/12\nsubnetLen: 24\npodCIDRs: Ignore\nbackend: {type: vxlan}")
	c.patiently(3*time.Minute, "bound subnets", func() error {
		if n := len(c.subnets()); n != count {
			return fmt.Errorf("%d of %d bound", n, count)
		}
		return nil
	})
	bound := time.Since(start)
	c.startAgents()
	c.patiently(3*time.Minute, "ready", func() error {
		_, err := hasCondition(c.config().Status.Conditions, v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
		return err
	})
	ready := time.Since(start)
	c.settle()
	writes, lists := w.writes.Load(), w.lists.Load()
	t.Logf("%d nodes: bound after %s, all published and ready after %s; %d writes, %d live reads", count, bound.Round(time.Millisecond), ready.Round(time.Millisecond), writes, lists)
	if writes > 9*count {
		t.Errorf("%d writes for %d nodes, want at most 9 each", writes, count)
	}
	if lists > 60 {
		t.Errorf("%d live reads, want a few", lists)
	}
}

// patiently is eventually with a longer patience and a longer stride.
func (c *cluster) patiently(patience time.Duration, what string, f func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
