package load

import (
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
	for _, step := range append([]Step{control}, steps...) {
		t.Logf("%s: %+v", step.Change, step.Result)
		if step.Failed != 0 {
			t.Errorf("change %s: %d of %d requests failed: %q", step.Change, step.Failed, step.Requests, step.Errors)
		}
		if len(step.Rows) != 6 || step.Pods != 3 {
			t.Errorf("change %s: %d pods answered in %d rows, want 3 in 6", step.Change, step.Pods, len(step.Rows))
		}
	}
}
