package load

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// A change of the backend costs no request: from pods and nodes to a Service's address, from outside to a NodePort of every node,
// over connections that were there before and over new ones.
func TestChangeUnderLoad(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx := t.Context()
	if err := c.Install(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Network(ctx, c.Sample("networkconfig.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := c.Pods(ctx, "p1@n1", "p2@n2", "p3@n3"); err != nil {
		t.Fatal(err)
	}
	svc, err := Deploy(ctx, c, "web", 3, "n1", "n2", "n3")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := Clients(c, svc, 100, "n1", "n2", "n3")
	if err != nil {
		t.Fatal(err)
	}
	w, err := rollout.New(c.Cluster, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Start(ctx, clients)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	control, err := Control(ctx, g, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Run(ctx, w, g, ShortChain())
	if err != nil {
		t.Error(err)
	}
	lower, err := g.Measure(ctx, func(ctx context.Context) error { return changeMTU(ctx, c) })
	if err != nil {
		t.Error(err)
	}
	for _, step := range append([]Step{control, {Change: "mtu", Result: lower}}, steps...) {
		t.Logf("%s: %+v", step.Change, step.Result)
		if step.Failed != 0 {
			t.Errorf("change %s: %d of %d requests failed: %q", step.Change, step.Failed, step.Requests, step.Errors)
		}
		if len(step.Rows) != 6 || step.Pods != 3 {
			t.Errorf("change %s: %d pods answered in %d rows, want 3 in 6", step.Change, step.Pods, len(step.Rows))
		}
	}
}

// changeMTU has the pods that run send smaller packets, and then as large ones as before. The agent reaches into their network
// namespaces for that, from its container.
func changeMTU(ctx context.Context, c *cluster.Cluster) error {
	const config = `{apiVersion: net.hopsack.dev/v1alpha1, kind: NetworkConfig, metadata: {name: default}, spec: {network: 10.244.0.0/16, podCIDRs: Ignore, mtu: %d, backend: {type: vxlan}}}`
	for _, step := range []struct{ configured, routes int }{{1400, 1400}, {0, 1450}} {
		if out, err := c.Apply(ctx, fmt.Sprintf(config, step.configured)); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, pod := range []string{"p1", "p2", "p3"} {
			err := c.Soon(ctx, fmt.Sprintf("pod %s to send packets of %d bytes", pod, step.routes), func() (bool, error) {
				out, err := c.Exec(ctx, pod, "ip", "route", "show", "default")
				if err == nil && !strings.Contains(out, fmt.Sprintf("mtu %d ", step.routes)) {
					err = fmt.Errorf("its route is %s", out)
				}
				return err == nil, err
			})
			if err != nil {
				return err
			}
		}
		if err := c.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}
