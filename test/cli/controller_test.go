package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
	"github.com/hopsack-net/hopsack/controllers"
)

// startController runs the real controller until the test ends, or until stop.
func startController(t *testing.T) (stop func()) {
	t.Helper()
	mgr, err := ctrl.NewManager(admin, ctrl.Options{
		Scheme: api.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := controllers.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r, err := controllers.New(controllers.Options{Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
		Events: mgr.GetEventRecorder("hopsack-controller"), Metrics: metrics, ServiceCIDRs: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	return background(t, func(ctx context.Context) {
		if err := mgr.Start(ctx); err != nil {
			t.Errorf("controller: %v", err)
		}
	})
}

// background runs f until the test ends, or until stop.
func background(t *testing.T, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// agents play the agents of all nodes: they report that everything works, except that nothing comes back over UDP port blocked.
type agents struct {
	nodes   int32
	blocked atomic.Int32
}

func startAgents(t *testing.T, nodes int) *agents {
	t.Helper()
	a := &agents{nodes: int32(nodes)}
	for i := 1; i <= nodes; i++ {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}
		create(t, node)
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.30.0.%d", 10+i)}}
		update(t, node)
	}
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			var all v1alpha1.NodeNetworkList
			if err := api.List(ctx, &all); err == nil {
				for i := range all.Items {
					a.report(ctx, &all.Items[i])
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return a
}

// report writes what an agent would; what is lost to a conflict is written next time.
func (a *agents) report(ctx context.Context, nn *v1alpha1.NodeNetwork) {
	before := nn.DeepCopy()
	s := &nn.Status
	s.ObservedGeneration, s.NodeUID, s.PublicIPs = nn.Generation, nn.Spec.NodeUID, nn.Spec.InternalIPs
	s.TransmitRevision, s.PreparedRevisions, s.Verifications = nn.Spec.Transmit, nil, nil
	s.Paths = &v1alpha1.PathCounts{Encapsulated: a.nodes - 1}
	for _, r := range nn.Spec.Revisions {
		s.PreparedRevisions = append(s.PreparedRevisions, r.ID)
		v := v1alpha1.Verification{Revision: r.ID, Peers: a.nodes - 1, Verified: a.nodes - 1}
		if r.Backend.VXLAN != nil && *r.Backend.VXLAN.Port == a.blocked.Load() {
			for i := int32(1); i <= a.nodes; i++ {
				if peer := fmt.Sprintf("n%d", i); peer != nn.Name {
					v.Failing = append(v.Failing, v1alpha1.FailingPeer{Node: peer, Reason: v1alpha1.ProbeNoAnswer,
						Message: fmt.Sprintf("no answer over UDP %d from 172.30.0.%d", a.blocked.Load(), 10+i)})
				}
			}
			v.Verified, v.FailingCount = 0, int32(len(v.Failing))
		}
		s.Verifications = append(s.Verifications, v)
	}
	if nn.Spec.Check != "" && (s.Check == nil || s.Check.Request != nn.Spec.Check) {
		s.Check = &v1alpha1.CheckResult{Request: nn.Spec.Check, FinishedAt: metav1.Now(), Peers: a.nodes - 1, Reached: a.nodes - 1, SlowestMicroseconds: 700}
	}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: metav1.Now()}
	if !slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionReady }) {
		s.Conditions = append(s.Conditions, ready)
	}
	_ = api.Status().Patch(ctx, nn, client.MergeFrom(before))
}

// TestWithTheController goes through a change that completes, one that stalls and goes on, one that is held, and the way back,
// with the real controller.
func TestWithTheController(t *testing.T) {
	empty(t)
	startController(t)
	a := startAgents(t, 3)
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName},
		Spec: v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", PodCIDRs: v1alpha1.PodCIDRsIgnore, Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}}}
	create(t, cfg)
	follow := func(want int, texts ...string) {
		t.Helper()
		out, errOut, code := runToEnd(t, "rollout", "status", "--timeout", "18s", "--stall-patience", "2s")
		if code != want {
			t.Errorf("rollout status: got %d, want %d:\n%s%s", code, want, out, errOut)
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("rollout status: no %q in:\n%s", text, out)
			}
		}
	}
	follow(cli.ExitOK, "completed")
	eventually(t, "Ready network", func() bool {
		out, _, _ := runToEnd(t, "status")
		return strings.Contains(squeeze(out), "Ready:  True")
	})

	respec(t, func(c *v1alpha1.NetworkConfig) { c.Spec.Backend = vxlanPort(4789) })
	follow(cli.ExitOK, "completed: every node sends with revision")

	a.blocked.Store(5555)
	respec(t, func(c *v1alpha1.NetworkConfig) { c.Spec.Backend = vxlanPort(5555) })
	follow(cli.ExitFailed, "stalled (VerificationFailed)", "n1 -> n2: no answer over UDP 5555 from 172.30.0.12")
	if out, _, _ := runToEnd(t, "status"); !strings.Contains(out, "Failing: 3 pairs") {
		t.Errorf("status of what is stalled:\n%s", out)
	}
	runToEnd(t, "rollout", "pause")
	a.blocked.Store(0)
	eventually(t, "pause in status", func() bool {
		_, _, code := runToEnd(t, "rollout", "status", "--watch=false")
		return code == cli.ExitPaused
	})
	runToEnd(t, "rollout", "resume")
	eventually(t, "end of the pause", func() bool {
		_, _, code := runToEnd(t, "rollout", "status", "--watch=false")
		return code != cli.ExitPaused
	})
	follow(cli.ExitOK, "completed")

	if out, errOut, code := runToEnd(t, "rollout", "undo"); code != cli.ExitOK || !strings.Contains(out, "port 4789") {
		t.Errorf("undo: got %d %s%s", code, out, errOut)
	}
	follow(cli.ExitOK, "completed")
	out, _, _ := runToEnd(t, "rollout", "history")
	if got := strings.Count(out, "Completed"); got != 4 {
		t.Errorf("history: %d completed, want 4:\n%s", got, out)
	}
	if out, errOut, code := runToEnd(t, "check", "--timeout", "15s"); code != cli.ExitOK || !strings.Contains(out, "6 of 6 paths work") {
		t.Errorf("check: got %d\n%s%s", code, out, errOut)
	}
	if out, _, _ := runToEnd(t, "trace", "n1", "--from", "n2"); !strings.Contains(out, "encapsulated") || !strings.Contains(out, "hs1-4789") || !strings.Contains(out, "172.30.0.11") {
		t.Errorf("trace:\n%s", out)
	}
}

func vxlanPort(port int32) v1alpha1.Backend {
	return v1alpha1.Backend{Type: v1alpha1.BackendVXLAN, VXLAN: &v1alpha1.VXLANBackend{Port: &port}}
}

// letGo takes the finalizers off, which the controller would do if it saw nodes go.
func letGo(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	none := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	var leases v1alpha1.SubnetLeaseList
	if err := api.List(ctx, &leases); err != nil {
		t.Fatal(err)
	}
	objects := []client.Object{&v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName}}}
	for i := range leases.Items {
		objects = append(objects, &leases.Items[i])
	}
	for _, o := range objects {
		if err := client.IgnoreNotFound(api.Patch(ctx, o, none)); err != nil {
			t.Error(err)
		}
	}
}
