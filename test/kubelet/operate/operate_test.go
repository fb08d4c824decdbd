package operate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// An upgrade, the deletion of every pod of hopsack, a power failure of one node and of the control plane lose no packet and fail no
// request between the nodes that they do not concern.
func TestOperations(t *testing.T) {
	next := func(name string) string { return "../../../bin/images/next/" + name }
	c := cluster.ForTest(t, cluster.Options{Images: []string{next("hopsack-agent.tar"), next("hopsack-controller.tar")}})
	ctx := t.Context()
	if err := c.Install(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Network(ctx, c.Sample("networkconfig.yaml")); err != nil {
		t.Fatal(err)
	}
	w, err := Prepare(ctx, c, 20, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	steps := []func(context.Context) (Operation, error){
		func(ctx context.Context) (Operation, error) { return w.Upgrade(ctx) },
		w.DeleteAll,
		func(ctx context.Context) (Operation, error) { return w.StopControlPlane(ctx, 15*time.Second) },
		func(ctx context.Context) (Operation, error) { return w.Power(ctx, 3*time.Second) },
	}
	for i, run := range steps {
		op, err := run(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f s, node booted after %.1f s and back after %.1f s, restarts %v, %+v, HTTP %+v", op.Name, op.Seconds, op.BootSeconds, op.BackSeconds, op.Restarts, op.Figures, op.HTTP)
		if !op.Clean() {
			t.Errorf("%s: %d of %d packets lost (the machine's own queues dropped %d), %d from a wrong source, %d connections broken (%s), %d of %d requests failed: %q",
				op.Name, op.Lost, op.Sent, op.MachineDropped, op.WrongSource, op.Broken, op.FirstError, op.HTTP.Failed, op.HTTP.Requests, op.HTTP.Errors)
		}
		// The agent of a node that was turned off is started again with it; no other has a reason.
		if off := i == len(steps)-1; !off && op.Restarts["agent"] > 0 {
			t.Errorf("%s: agents ended %d times", op.Name, op.Restarts["agent"])
		}
	}
	t.Run("the next version runs", func(t *testing.T) { testNextRuns(t, w) })
}

// testNextRuns checks that what was measured happened: what runs is the next version, and its field is known.
func testNextRuns(t *testing.T, w *World) {
	images, err := w.Kubectl(t.Context(), "get", "pods", "-n", namespace, "-o", `jsonpath={range .items[*]}{.spec.containers[0].image}{"\n"}{end}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range strings.Fields(images) {
		if !strings.HasSuffix(image, "-next") {
			t.Errorf("%s runs, want the next version", image)
		}
	}
	if got := len(strings.Fields(images)); got != 5 {
		t.Errorf("%d pods, want 3 agents and 2 controllers", got)
	}
	if _, err := w.Kubectl(t.Context(), "explain", "networkconfig.spec."+newField); err != nil {
		t.Error(err)
	}
}

func TestKept(t *testing.T) {
	before := map[string]string{"SubnetLease a": "1 {}", "SubnetLease b": "2 {}"}
	for name, c := range map[string]struct {
		after map[string]string
		want  string
	}{
		"same":    {map[string]string{"SubnetLease a": "1 {}", "SubnetLease b": "2 {}"}, ""},
		"another": {map[string]string{"SubnetLease a": "9 {}", "SubnetLease b": "2 {}"}, "SubnetLease a was 1 {}"},
		"gone":    {map[string]string{"SubnetLease a": "1 {}"}, "1 objects, were 2"},
	} {
		t.Run(name, func(t *testing.T) {
			err := kept(before, c.after)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if kept(nil, nil) == nil {
		t.Error("nothing at all is kept: an error is missing")
	}
}
