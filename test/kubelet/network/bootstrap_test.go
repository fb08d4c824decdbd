package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// plainPod is a pod of which nobody waits for anything. It answers on the port given, and tolerates whatever there is.
const plainPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  hostNetwork: %[3]t
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: c
    image: ` + cluster.Agnhost + `
    args: [netexec, --http-port=%[4]d]
---
`

// stepWait makes a pod on every node before there is a network. That the Nodes are not Ready keeps the scheduler from them; these
// pods are on their nodes already, as those of DaemonSets are.
func stepWait(ctx context.Context, t *testing.T, w *world) {
	w.said = listen(ctx, t, w)
	var yaml string
	for _, node := range w.nodes {
		yaml += fmt.Sprintf(plainPod, "waiting-"+node, node, false, 8080)
	}
	w.apply(ctx, t, yaml)
	for _, node := range w.nodes {
		w.waits(ctx, t, "waiting-"+node)
	}
	if got := w.run(ctx, t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}`); got != "False False False " {
		t.Errorf("nodes without a network: Ready is %s", got)
	}
}

// waits sees that a pod waits for a network, and that its events say so.
func (w *world) waits(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	w.soon(ctx, t, "events of "+pod+" to say what it waits for", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
		return saw(strings.Contains(out, "NetworkNotReady: network is not ready:"), out, err)
	})
	// The kubelet writes events and states one after another.
	w.soon(ctx, t, pod+" to be waiting without an address", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "pod", pod, "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason} {.status.podIP}")
		return saw(out == "Pending ContainerCreating ", out, err)
	})
}

// saw is what a wait returns that has seen something, or not what it waits for.
func saw(ok bool, what string, err error) (bool, error) {
	if !ok && err == nil {
		err = fmt.Errorf("got %s", what)
	}
	return ok, err
}

func stepInstall(ctx context.Context, t *testing.T, w *world) {
	cfg, err := w.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	// As docs/install.md says.
	w.run(ctx, t, "create", "namespace", "hopsack-system")
	w.run(ctx, t, "--namespace", "hopsack-system", "create", "configmap", "hopsack-apiserver",
		"--from-literal=KUBERNETES_SERVICE_HOST="+server.Hostname(), "--from-literal=KUBERNETES_SERVICE_PORT="+server.Port())
	if err := w.Install(ctx, ""); err != nil {
		t.Fatal(err)
	}
	w.run(ctx, t, "wait", "-n", "hopsack-system", "--for=condition=Available", "deploy/hopsack-controller", "--timeout=2m")
	w.soon(ctx, t, "agents to run", func() (bool, error) {
		out, err := w.Kubectl(ctx, "get", "pods", "-n", "hopsack-system", "-l", "app.kubernetes.io/component=agent", "-o",
			"jsonpath={range .items[*]}{.status.containerStatuses[0].started} {end}")
		return saw(out == "true true true ", out, err)
	})
	service := w.run(ctx, t, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
	for _, node := range w.nodes {
		if out, err := w.Exec(ctx, node, "curl", "--silent", "--insecure", "--max-time", "2", "https://"+net.JoinHostPort(service, "443")+"/version"); err == nil {
			t.Errorf("node %s reaches the API server through its Service without kube-proxy: %s", node, out)
		}
	}
	for _, node := range w.nodes {
		w.waits(ctx, t, "waiting-"+node)
	}
}

const networkManifest = `
apiVersion: net.hopsack.dev/v1alpha1
kind: NetworkConfig
metadata: {name: default}
spec: {network: 10.244.0.0/16, backend: {type: vxlan}}
`

func stepNetwork(ctx context.Context, t *testing.T, w *world) {
	w.apply(ctx, t, networkManifest)
	w.awaitNetwork(ctx, t)
	w.said.expect(ctx, t, "True", "False")
	w.run(ctx, t, "rollout", "status", "-n", "hopsack-system", "ds/hopsack-agent", "--timeout=2m")
	w.adopted(ctx, t)
	for _, node := range w.nodes {
		w.ownAddresses(ctx, t, node)
	}
	w.accounted(ctx, t)
}

// awaitNetwork is AwaitNetwork for a cluster whose DNS may not find the API server.
func (w *world) awaitNetwork(ctx context.Context, t *testing.T) {
	t.Helper()
	bounded, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	if err := w.WaitReady(bounded); err != nil {
		t.Fatal(err)
	}
	w.run(ctx, t, "wait", "--for=condition=Ready", "node", "--all", "--timeout=2m")
	// Those that waited are told by nobody: kubelets try again.
	w.run(ctx, t, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=2m")
}

// adopted sees that every node's one lease is what kube-controller-manager has written into its Node.
func (w *world) adopted(ctx context.Context, t *testing.T) {
	t.Helper()
	api, err := w.Client()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range w.nodes {
		var node corev1.Node
		if err := api.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			t.Fatal(err)
		}
		subnets, err := subnetsOf(ctx, w.Cluster, name)
		if err != nil {
			t.Fatal(err)
		}
		if len(subnets) != 1 || subnets[0].String() != node.Spec.PodCIDR {
			t.Errorf("node %s has the podCIDR %q and the leases %v", name, node.Spec.PodCIDR, subnets)
			continue
		}
		var lease v1alpha1.SubnetLease
		if err := api.Get(ctx, client.ObjectKey{Name: strings.ReplaceAll(node.Spec.PodCIDR, "/", "-")}, &lease); err != nil {
			t.Fatal(err)
		}
		if lease.Annotations[v1alpha1.AdoptedAnnotation] != "true" {
			t.Errorf("lease %s is not marked as adopted: %v", lease.Name, lease.Annotations)
		}
		if got := w.stable(t, name); !netip.MustParsePrefix(node.Spec.PodCIDR).Contains(got) {
			t.Errorf("node %s is %s towards pods of %s", name, got, node.Spec.PodCIDR)
		}
	}
}

// ownAddresses sees that all pods on a node have addresses, each its own and one of the node's.
func (w *world) ownAddresses(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	if _, err := ownAddresses(ctx, w.Cluster, node); err != nil {
		t.Error(err)
	}
}
