package network

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// strangeNetwork is what another network may have left on a node: a configuration that works, of addresses that nobody routes.
const strangeNetwork = `{"cniVersion":"1.0.0","name":"strange","plugins":[{"type":"bridge","bridge":"strange0","isGateway":true,` +
	`"ipam":{"type":"host-local","dataDir":"/run/strange","ranges":[[{"subnet":"192.168.77.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// stepBoot boots a node where another network has left its configuration and hopsack's agent cannot start. hopsack's own
// configuration is on the disk, but what the plugin needs is not there: no pod may start, in whatever network, until the agent has
// run.
func stepBoot(ctx context.Context, t *testing.T, w *world) {
	const node = "n2"
	// A state directory that is a file keeps the agent's container from being made.
	if out, err := w.Sh(ctx, node, "echo '"+strangeNetwork+"' >/etc/cni/net.d/10-strange.conflist && mv /var/lib/hopsack /var/lib/hopsack.away && touch /var/lib/hopsack"); err != nil {
		t.Fatal(err, out)
	}
	if err := w.PowerOff(ctx, node); err != nil {
		t.Fatal(err)
	}
	if err := w.PowerOn(ctx, node); err != nil {
		t.Fatal(err)
	}
	// The kubelet knows the pods it had, and starts what it can: those in the node's own network.
	w.soon(ctx, t, "the pod in the node's network to run again", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "pod", "host-"+node, "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].started}")
		return saw(out == "1 true", out, err)
	})
	w.apply(ctx, t, fmt.Sprintf(plainPod, "late", node, false, 8080))
	w.waits(ctx, t, "late")
	w.soon(ctx, t, "the node to say that it has no network", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
		return saw(strings.HasPrefix(out, "False") && strings.Contains(out, "NetworkPluginNotReady"), out, err)
	})
	if out, err := w.Sh(ctx, node, "ls -d /run/hopsack/cni.json /run/hopsack/ipam /run/strange /sys/class/net/cni0 /sys/class/net/strange0 2>/dev/null"); err == nil || out != "" {
		t.Errorf("%s has a network before its agent runs: %s", node, out)
	}
	if _, err := w.Sh(ctx, node, "rm /var/lib/hopsack && mv /var/lib/hopsack.away /var/lib/hopsack"); err != nil {
		t.Fatal(err)
	}
	w.soon(ctx, t, "the pods to run again", func() (bool, error) {
		pods, err := podsOn(ctx, w.Cluster, node)
		var waiting []string
		for _, p := range pods {
			if !isReady(p) {
				waiting = append(waiting, p.Name)
			}
		}
		return saw(len(waiting) == 0, strings.Join(waiting, " "), err)
	})
	w.ownAddresses(ctx, t, node)
	w.accounted(ctx, t)
	if out, err := w.Sh(ctx, node, "ls -d /run/strange /sys/class/net/strange0 2>/dev/null"); err == nil || out != "" {
		t.Errorf("%s has plugged a pod into another network: %s", node, out)
	}
	w.sources(ctx, t, w.podFlows(ctx, t))
	if _, err := w.Sh(ctx, node, "rm /etc/cni/net.d/10-strange.conflist"); err != nil {
		t.Fatal(err)
	}
}
