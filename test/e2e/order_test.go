package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/test/lab"
)

// kernelState prints what pods' packets go by on a node, without what counts or ages.
const kernelState = `ip route show table all proto 104
ip rule show
bridge fdb show | grep hs1
ip neigh show nud permanent
nft --stateless list table inet hopsack
ip -4 -o address show dev cni0
cat /run/hopsack/cni.json /etc/cni/net.d/05-hopsack.conflist`

func kernelStates(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, n := range nodes {
		out[n] = sh(t, n, kernelState)
	}
	return out
}

const allCRDs = "networkconfigs.net.hopsack.dev nodenetworks.net.hopsack.dev subnetleases.net.hopsack.dev"

// Somebody deletes the CRDs under a controller and agents that run, and an agent starts again while its NodeNetwork is gone:
// nothing in any kernel changes, and no packet is lost. What docs/uninstall.md says leads out of it.
func TestCRDsDeletedInTheWrongOrder(t *testing.T) {
	before := kernelStates(t)
	same := func(when string) {
		t.Helper()
		if diff := cmp.Diff(before, kernelStates(t)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", when, diff)
		}
	}
	args := append([]string{"delete", "crd", "--wait=false"}, strings.Fields(allCRDs)...)
	// The API server looks for new kinds every 30 s only, and takes a rule about one that it does not know yet for none.
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	err := cluster.Wait(ctx, "the CRDs to be kept while there is a network", func() (bool, error) {
		_, err := cluster.Kubectl(ctx, append(args, "--dry-run=server")...)
		if err != nil && strings.Count(err.Error(), "kubectl hopsack uninstall --crds") == 3 {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Kubectl(t.Context(), args...); err == nil {
		t.Fatal("the CRDs are deleted while there is a network")
	}
	kubectl(t, "delete", "validatingadmissionpolicybinding", "hopsack-crds")
	losesNothing(t, path{from: "p1", to: "p3"}, 64, func(ctx context.Context) error {
		wait(t, "deletion of the CRDs", func() (bool, error) {
			_, err := cluster.Kubectl(ctx, append(args, "--ignore-not-found")...)
			return err == nil, err
		})
		wait(t, "the end of every NodeNetwork", func() (bool, error) {
			out, err := cluster.Kubectl(ctx, "get", "crd", "nodenetworks.net.hopsack.dev", "--ignore-not-found", "-o", "name")
			return err == nil && out == "", err
		})
		tries := failedPasses(t)
		wait(t, "passes without NodeNetworks", func() (bool, error) {
			return failedPasses(t) >= tries+3, nil
		})
		for _, n := range nodes {
			kicked := parse(t, passes(t, n))
			sh(t, n, "ip link set dev cni0 mtu 1400") // the agent puts it back, with all else that it knows
			wait(t, "a pass on "+n, func() (bool, error) { return parse(t, passes(t, n)) > kicked, nil })
		}
		same("after the NodeNetworks are gone")
		return restart(ctx, lab.Agent("n1"))
	})
	same("after an agent has started without its NodeNetwork")
	allPing(t)

	losesNothing(t, path{from: "p1", to: "p3"}, 64, func(ctx context.Context) error {
		if _, err := cluster.Kubectl(ctx, "apply", "--server-side", "-f", filepath.Join("..", "..", "config", "crd", "bases")); err != nil {
			return err
		}
		wait(t, "agents to report again", func() (bool, error) {
			out, err := cluster.Kubectl(ctx, "get", "nodenetworks", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].reason}`)
			return out == "Ready Ready Ready", err
		})
		return nil
	})
	same("after the NodeNetworks are there again")
	endNetwork(t)
}

// endNetwork takes the network away, with CRDs that are in deletion, and makes both again.
func endNetwork(t *testing.T) {
	t.Helper()
	for pod := range pods {
		if err := cluster.DelPod(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "annotate", "networkconfig", "default", "net.hopsack.dev/teardown=confirmed")
	wait(t, "the CRDs to go", func() (bool, error) {
		out, err := cluster.Kubectl(t.Context(), "get", "crd", "networkconfigs.net.hopsack.dev", "subnetleases.net.hopsack.dev", "--ignore-not-found", "-o", "name")
		return out == "", err
	})
	for _, n := range nodes {
		if left := sh(t, n, traces); strings.TrimSpace(left) != "" {
			t.Errorf("left on %s:\n%s", n, left)
		}
	}
	config := filepath.Join("..", "..", "config")
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", filepath.Join(config, "crd", "bases"), "-f", filepath.Join(config, "admission", "crds_policy_binding.yaml"))
	kubectl(t, append([]string{"wait", "--for=condition=Established", "crd"}, strings.Fields(allCRDs)...)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	if err := up(ctx); err != nil {
		t.Fatalf("the network does not come back: %v", err)
	}
	allPing(t)
}

// failedPasses counts the passes in which the controller could not make a NodeNetwork.
func failedPasses(t *testing.T) int {
	t.Helper()
	log, err := os.ReadFile(cluster.LogPath("controller"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "create nodenetwork n")
}
