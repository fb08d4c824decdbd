package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/drift"
)

// kinds are all kinds of drift on n1, with peer n2.
func kinds(t *testing.T) []drift.Kind {
	t.Helper()
	return drift.All(drift.Target{PeerSubnet: nodeNetwork(t, "n2").Spec.Subnets[0].Subnet, PeerAddr: "172.30.0.12", Network: "10.244."})
}

// Whatever else touches what hopsack owns is put back. The time until then is logged, not asserted.
func TestDriftHeals(t *testing.T) {
	for _, k := range kinds(t) {
		if !k.DirectRouting {
			t.Run(k.Name, func(t *testing.T) { heals(t, k) })
		}
	}
	allPing(t)
}

// Strict filtering matters where paths are asymmetric: with direct routing.
func TestStrictFilteringHeals(t *testing.T) {
	apply(t, sample("networkconfig-direct.yaml"))
	defer apply(t, sample("networkconfig.yaml"))
	for _, k := range kinds(t) {
		if k.DirectRouting {
			t.Run(k.Name, func(t *testing.T) { heals(t, k) })
		}
	}
}

func heals(t *testing.T, k drift.Kind) {
	t.Helper()
	shows := func() (bool, error) {
		_, err := cluster.Exec(t.Context(), "n1", "sh", "-c", k.Shows)
		return err == nil, err
	}
	if ok, err := shows(); !ok {
		t.Fatalf("not well before it was broken: %v", err)
	}
	sh(t, "n1", k.Break)
	broken := time.Now()
	wait(t, "repair of "+k.Name, shows)
	t.Logf("back after %d ms", time.Since(broken).Milliseconds())
}

// What a tunnel loses in drift is no reason to lose what goes another way.
func TestDriftOfOnePeerLeavesOthersAlone(t *testing.T) {
	losesNothing(t, path{from: "p1", to: "p3"}, 64, func(ctx context.Context) error {
		for _, k := range kinds(t) {
			if k.Reach == drift.Peer {
				heals(t, k)
			}
		}
		return nil
	})
}

// Foreign state is left alone, and said.
func TestForeignRouteIsNotOverwritten(t *testing.T) {
	sh(t, "n1", "ip route replace 10.244.2.0/24 via 172.30.0.1 proto static")
	wait(t, "n1 to name the foreign route", func() (bool, error) {
		nn := nodeNetwork(t, "n1")
		for _, c := range nn.Status.Conditions {
			if c.Type == "Programmed" && c.Reason == "ForeignRoute" && strings.Contains(c.Message, "10.244.2.0/24") {
				return true, nil
			}
		}
		return false, nil
	})
	if route := in(t, "n1", "ip", "route", "show", "10.244.2.0/24"); !strings.Contains(route, "via 172.30.0.1") {
		t.Errorf("the foreign route was overwritten: %s", route)
	}
	sh(t, "n1", "ip route del 10.244.2.0/24")
	waitReady(t)
	allPing(t)
}
