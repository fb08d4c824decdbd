package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
)

// leavers are agents that clean up when they are asked, but for those that are silent.
type leavers struct {
	mu     sync.Mutex
	silent []string
}

func (l *leavers) silence(nodes ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = nodes
}

// startLeavers makes nodes and runs their agents.
func startLeavers(t *testing.T, nodes int) *leavers {
	t.Helper()
	a := startAgents(t, nodes)
	l := &leavers{}
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			var all v1alpha1.NodeNetworkList
			if err := api.List(ctx, &all); err == nil {
				for i := range all.Items {
					l.leave(ctx, a, &all.Items[i])
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return l
}

func (l *leavers) leave(ctx context.Context, a *agents, nn *v1alpha1.NodeNetwork) {
	l.mu.Lock()
	silent := slices.Contains(l.silent, nn.Name)
	l.mu.Unlock()
	if silent || nn.Spec.Teardown == "" {
		return
	}
	before := nn.DeepCopy()
	nn.Status.ObservedGeneration, nn.Status.NodeUID = nn.Generation, nn.Spec.NodeUID
	meta.SetStatusCondition(&nn.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCleanedUp})
	_ = api.Status().Patch(ctx, nn, client.MergeFrom(before))
}

// cluster makes a network of three nodes that works.
func cluster(t *testing.T) *leavers {
	t.Helper()
	empty(t)
	create(t, &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName},
		Spec: v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", PodCIDRs: v1alpha1.PodCIDRsIgnore, Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}}})
	return startLeavers(t, 3)
}

// works waits until the controller has given all nodes the network.
func works(t *testing.T) {
	t.Helper()
	eventually(t, "network", func() bool {
		return meta.IsStatusConditionTrue(current(t).Status.Conditions, "Ready") && len(leases(t)) == 3
	})
}

func leases(t *testing.T) []v1alpha1.SubnetLease {
	t.Helper()
	var l v1alpha1.SubnetLeaseList
	if err := api.List(t.Context(), &l); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return l.Items
}

// gone fails the test if anything of a network is left.
func gone(t *testing.T) {
	t.Helper()
	var networks v1alpha1.NodeNetworkList
	if err := api.List(t.Context(), &networks); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	err := api.Get(t.Context(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, &v1alpha1.NetworkConfig{})
	if n, l := len(networks.Items), len(leases(t)); n > 0 || l > 0 || !apierrors.IsNotFound(err) {
		t.Errorf("left: %d nodenetworks, %d leases, networkconfig: %v", n, l, err)
	}
	var nodes corev1.NodeList
	if err := api.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeNetworkUnavailable {
				t.Errorf("node %s still says %s=%s (%s), which nobody keeps any more", n.Name, c.Type, c.Status, c.Reason)
			}
		}
	}
}

// shipped are the objects of the manifests, as install.yaml has them, CRDs excepted.
func shipped(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, part := range []string{"rbac", "admission", "flow", "manager", "agent", "metrics"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "config", part, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			out = append(out, decode(t, file)...)
		}
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { // the namespace first
		return strings.Compare(namespaceLast(b), namespaceLast(a))
	})
	return out
}

// decode reads the objects of a file.
func decode(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(o); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatalf("%s: %v", file, err)
		case len(o.Object) > 0:
			out = append(out, o)
		}
	}
}

func namespaceLast(o *unstructured.Unstructured) string {
	if o.GetKind() == "Namespace" {
		return "z"
	}
	return ""
}

// install applies the manifests, into a namespace that is not there yet: this control plane never finishes deleting one.
func install(t *testing.T, namespace string, change ...func(*unstructured.Unstructured)) []*unstructured.Unstructured {
	t.Helper()
	objects := shipped(t)
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			o.SetName(namespace)
		}
		if o.GetNamespace() != "" {
			o.SetNamespace(namespace)
		}
		for _, f := range change {
			f(o)
		}
		create(t, o)
	}
	t.Cleanup(func() {
		for _, o := range objects {
			if err := api.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	})
	return objects
}

// exists says whether the object is there and nobody has deleted it.
func exists(t *testing.T, o *unstructured.Unstructured) bool {
	t.Helper()
	now := o.DeepCopy()
	err := api.Get(t.Context(), client.ObjectKeyFromObject(o), now)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil && now.GetDeletionTimestamp() == nil
}

// uninstallEnds runs the command, which must end with code and write texts.
func uninstallEnds(t *testing.T, code int, args []string, texts ...string) {
	t.Helper()
	out, errOut, got := runToEnd(t, append([]string{"uninstall", "--timeout", "15s"}, args...)...)
	if got != code {
		t.Errorf("uninstall %s: exit code %d, want %d:\n%s%s", strings.Join(args, " "), got, code, out, errOut)
	}
	for _, text := range texts {
		if !strings.Contains(out+errOut, text) {
			t.Errorf("uninstall %s: no %q in:\n%s%s", strings.Join(args, " "), text, out, errOut)
		}
	}
}

// TestUninstall: without --yes nothing changes; with it every node is clean before its objects go, then the manifests.
func TestUninstall(t *testing.T) {
	cluster(t)
	startController(t)
	works(t)
	objects := install(t, "uninstall-plain")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "web"}}}}
	if err := api.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	create(t, pod)
	t.Cleanup(func() { _ = api.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })

	uninstallEnds(t, cli.ExitError, nil, "1. clean 3 nodes: n1, n2, n3; 1 pod without network", "delete 3 leases, 3 nodenetworks and networkconfig default",
		"daemonset/hopsack-agent in uninstall-plain", "namespace/uninstall-plain, with all that is in it", "the CRDs stay", "say --yes")
	if c := current(t); len(c.Annotations) > 0 || !c.DeletionTimestamp.IsZero() || !exists(t, objects[0]) {
		t.Errorf("changed without --yes: %v %v", c.Annotations, c.DeletionTimestamp)
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "n1 CleanedUp", "n2 CleanedUp", "n3 CleanedUp", "(3 of 3)", "condition NetworkUnavailable taken off 3 nodes: n1, n2, n3",
		"namespace/uninstall-plain deleted", "done; the CRDs stay")
	gone(t)
	for _, o := range objects {
		if exists(t, o) {
			t.Errorf("%s %s is left", o.GetKind(), o.GetName())
		}
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "Nothing is left to remove but the CRDs")
}

// TestUninstallWaitsForAgents: the leases of a live node whose agent says nothing stay, and another run goes on.
func TestUninstallWaitsForAgents(t *testing.T) {
	l := cluster(t)
	l.silence("n2")
	startController(t)
	works(t)
	uninstallEnds(t, cli.ExitTimeout, []string{"--yes", "--timeout", "2s"}, "n1 CleanedUp", "n3 CleanedUp", "no word within 2s that n2 is cleaned", "--force-finalizers")
	if got := len(leases(t)); got != 3 {
		t.Errorf("%d leases are left while n2 is not clean, want 3", got)
	}
	r := start(t, "uninstall", "--yes", "--timeout", "15s")
	r.until("This removes")
	l.silence()
	if code := r.wait(); code != cli.ExitOK || !strings.Contains(r.out.String(), "n2 CleanedUp (3 of 3)") {
		t.Errorf("the second run: got %d:\n%s%s", code, r.out, r.errOut)
	}
	gone(t)
}

// TestUninstallWithoutDeadNodes: a node that is not Ready is named before anything is changed, and left out only if asked for.
func TestUninstallWithoutDeadNodes(t *testing.T) {
	l := cluster(t)
	l.silence("n3")
	startController(t)
	works(t)
	unready(t, "n3")
	uninstallEnds(t, cli.ExitFailed, []string{"--yes"}, "n3 cannot be cleaned, being not Ready", "--skip-not-ready")
	if c := current(t); len(c.Annotations) > 0 || !c.DeletionTimestamp.IsZero() {
		t.Errorf("changed although n3 is not Ready: %v %v", c.Annotations, c.DeletionTimestamp)
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes", "--skip-not-ready"}, "n1 CleanedUp", "not confirmed to be clean: n3; run \"hopsack-agent cleanup --yes\" there")
	gone(t)
}

// TestUninstallNodeDiesMeanwhile: a node that goes while it is waited for is not taken for clean, and nothing else is deleted.
func TestUninstallNodeDiesMeanwhile(t *testing.T) {
	l := cluster(t)
	l.silence("n3")
	startController(t)
	works(t)
	objects := install(t, "uninstall-meanwhile")
	r := start(t, "uninstall", "--yes", "--timeout", "15s")
	r.until("n1 CleanedUp")
	unready(t, "n3")
	if code := r.wait(); code != cli.ExitFailed || !strings.Contains(r.errOut.String(), "n3: not Ready any more, and so not cleaned") {
		t.Errorf("got %d, want 2:\n%s%s", code, r.out, r.errOut)
	}
	if !exists(t, objects[0]) {
		t.Error("the manifests are gone, although n3 was not expected to be left out")
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes"}, "done")
}

func unready(t *testing.T, name string) {
	t.Helper()
	node := &corev1.Node{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: name}, node); err != nil {
		t.Fatal(err)
	}
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			c.Status = corev1.ConditionUnknown
		}
	}
	update(t, node)
}

// TestUninstallWithoutController: agents that are still there are asked from here, and finalizers go after they have confirmed.
func TestUninstallWithoutController(t *testing.T) {
	l := cluster(t)
	l.silence("n2")
	stop := startController(t)
	works(t)
	stop()
	r := start(t, "uninstall", "--yes", "--timeout", "15s", "--controller-patience", "500ms")
	r.until("the controller does nothing: asked 3 agents directly")
	r.until("n3 CleanedUp")
	time.Sleep(time.Second) // more than the controller's patience: it is the agent's turn now
	if got := len(leases(t)); got != 3 {
		t.Errorf("%d leases are left while n2 is not clean, want 3", got)
	}
	l.silence()
	if code := r.wait(); code != cli.ExitOK {
		t.Errorf("got %d:\n%s%s", code, r.out, r.errOut)
	}
	gone(t)
}

// TestUninstallForced: when nobody serves any more, time has to be over and the user has to say so.
func TestUninstallForced(t *testing.T) {
	l := cluster(t)
	l.silence("n1", "n2", "n3")
	stop := startController(t)
	works(t)
	stop()
	create(t, &v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: "10.244.77.0-24", Annotations: map[string]string{v1alpha1.ReservedAnnotation: "true"},
		Finalizers: []string{v1alpha1.LeaseFinalizer}}, Spec: v1alpha1.SubnetLeaseSpec{Subnet: "10.244.77.0/24", NodeName: "n9"}})
	brief := []string{"--yes", "--timeout", "1500ms", "--controller-patience", "500ms"}
	uninstallEnds(t, cli.ExitTimeout, brief, "that n1, n2, n3 are cleaned")
	if got := len(leases(t)); got != 4 {
		t.Errorf("%d leases without --force-finalizers, want 4", got)
	}
	uninstallEnds(t, cli.ExitOK, append(brief, "--force-finalizers"), "no word from n1, n2, n3: going on without", "not confirmed to be clean: n1, n2, n3")
	left := leases(t)
	if len(left) != 1 || left[0].Name != "10.244.77.0-24" || len(left[0].Finalizers) > 0 {
		t.Errorf("what a user reserved must stay, without our finalizer; got %v", left)
	}
	if err := api.Delete(t.Context(), &left[0]); err != nil {
		t.Fatal(err)
	}
	gone(t)
}
