package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

// A node joins and leaves; the others learn of both, and lose nothing.
func TestNodeJoinsAndLeaves(t *testing.T) {
	losesNothing(t, path{from: "p1", to: "p2"}, 64, func(ctx context.Context) error {
		if err := cluster.AddNode(ctx, "n5", true); err != nil {
			return err
		}
		wait(t, "a pod on n5", func() (bool, error) {
			err := addPod(ctx, "p5", "n5")
			return err == nil, err
		})
		waitReady(t)
		for _, p := range []string{"p1", "p3"} {
			pings(t, p, "p5")
			pings(t, "p5", p)
		}
		return cluster.DelNode(ctx, "n5")
	})
	wait(t, "n1 to forget n5", func() (bool, error) {
		out, err := cluster.Exec(t.Context(), "n1", "sh", "-c", "ip route show proto 104; bridge fdb show dev hs1-8472; ip neigh show dev hs1-8472; nft list table inet hopsack")
		return err == nil && !strings.Contains(out, "172.30.5.15"), err
	})
}

// traces prints whatever hopsack could have left on a node.
const traces = `ip -o link show | grep -E 'hsu?[0-9]|hsprobe|cni0|hopsack'
ip route show table all proto 104
ip rule show | grep -E 'hopsack|^104:'
nft list tables | grep hopsack
iptables-nft -S FORWARD | grep hopsack
iptables-legacy -S FORWARD 2>/dev/null | grep hopsack
ls /etc/cni/net.d/05-hopsack.conflist /run/hopsack/cni.json /run/hopsack/pods/* /run/flannel/subnet.env /var/lib/hopsack/* 2>/dev/null
true`

// Deleting the network of running nodes is held until it is confirmed; then nothing is left.
func TestTeardownLeavesNothing(t *testing.T) {
	kubectl(t, "delete", "networkconfig", "default", "--wait=false")
	wait(t, "the deletion to be held, naming the way on", func() (bool, error) {
		for _, c := range config(t).Status.Conditions {
			if c.Type == "Stalled" && c.Reason == "TeardownPending" && strings.Contains(c.Message, "net.hopsack.dev/teardown") {
				return true, nil
			}
		}
		return false, nil
	})
	allPing(t)
	for pod := range pods {
		if err := cluster.DelPod(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "annotate", "networkconfig", "default", "net.hopsack.dev/teardown=confirmed")
	wait(t, "the NetworkConfig to go", func() (bool, error) {
		out, err := cluster.Kubectl(t.Context(), "get", "networkconfig,subnetleases,nodenetworks", "-o", "name")
		return err == nil && strings.TrimSpace(out) == "", err
	})
	for _, n := range nodes {
		if left := sh(t, n, traces); strings.TrimSpace(left) != "" {
			t.Errorf("left on %s:\n%s", n, left)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	if err := up(ctx); err != nil {
		t.Fatalf("the network does not come back: %v", err)
	}
	allPing(t)
}

// hopsack-agent cleanup works alone, with everything else gone.
func TestCleanupWithoutAPIServer(t *testing.T) {
	if err := cluster.AddNode(t.Context(), "n6", false); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.DelNode(context.WithoutCancel(t.Context()), "n6"); err != nil {
			t.Error(err)
		}
	}()
	wait(t, "the network of n6", func() (bool, error) {
		_, err := cluster.Exec(t.Context(), "n6", "test", "-e", "/run/hopsack/cni.json")
		return err == nil, err
	})
	if err := cluster.Kill(t.Context(), lab.Agent("n6")); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Exec(t.Context(), "n6", agentBinary(t), "cleanup"); err == nil {
		t.Error("cleanup ran without --yes")
	}
	in(t, "n6", agentBinary(t), "cleanup", "--yes")
	if left := sh(t, "n6", traces); strings.TrimSpace(left) != "" {
		t.Errorf("left on n6:\n%s", left)
	}
}

// Users take an agent down for good by deleting its Node: its subnet waits for it.
func TestNodeComesBackToItsSubnet(t *testing.T) {
	before := leaseOf(t, "n2")
	if err := cluster.DelNode(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the lease to be released", func() (bool, error) {
		out, err := cluster.Kubectl(t.Context(), "get", "subnetlease", before, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].reason}`)
		return out == "Released", err
	})
	if err := cluster.AddNode(t.Context(), "n2", false); err != nil {
		t.Fatal(err)
	}
	wait(t, "a pod on n2", func() (bool, error) {
		err := addPod(t.Context(), "p2", "n2")
		return err == nil, err
	})
	waitReady(t)
	if after := leaseOf(t, "n2"); after != before {
		t.Errorf("n2 came back to %s, want %s", after, before)
	}
	allPing(t)
}
