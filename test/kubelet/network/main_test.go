package network

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/lab"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// patience bounds the whole test, stepPatience whatever a step waits for that no other bound is for.
const (
	patience     = 15 * time.Minute
	stepPatience = time.Minute
)

// world is the cluster of the test, which its steps leave as the next one expects it.
type world struct {
	*cluster.Cluster
	// nodes are their names in order, inside their InternalIPs.
	nodes  []string
	inside map[string]netip.Addr
	// pods are the pods with a server on port 8080 that most steps ask, by name, with their nodes.
	pods map[string]string
	said *sayings
}

// TestNetwork takes one cluster from nodes without a network to one whose network was taken away and made again.
func TestNetwork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := &world{
		Cluster: cluster.ForTest(t, cluster.Options{KubeProxy: lab.ProxyNone, AllocateNodeCIDRs: true}),
		inside:  map[string]netip.Addr{}, pods: map[string]string{},
	}
	nodes, err := w.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		w.nodes = append(w.nodes, n.Name)
		w.inside[n.Name] = n.Addrs()[0]
	}
	for _, step := range []struct {
		name string
		run  func(context.Context, *testing.T, *world)
	}{
		{"pods wait for a network that nobody has installed", stepWait},
		{"controller and agents come up without kube-proxy", stepInstall},
		{"the network comes and the pods that waited run in it", stepNetwork},
		{"every path shows the right source address", stepSources},
		{"Services work with kube-proxy in mode nftables", func(ctx context.Context, t *testing.T, w *world) { stepServices(ctx, t, w, lab.ProxyNFTables) }},
		{"Services work with kube-proxy in mode iptables", func(ctx context.Context, t *testing.T, w *world) { stepServices(ctx, t, w, lab.ProxyIPTables) }},
		{"a pod that ends serves the connections it has", stepTerminating},
		{"many pods fit on a node and leave nothing", stepCrowd},
		{"a node that boots starts no pod before its network", stepBoot},
		{"a network that goes says so, and can come again", stepAgain},
	} {
		start := time.Now()
		if !t.Run(step.name, func(t *testing.T) { step.run(ctx, t, w) }) {
			t.FailNow()
		}
		t.Logf("%s: %.1f s", step.name, time.Since(start).Seconds())
	}
}

// run has kubectl do something and returns what it printed; a failure ends the test.
func (w *world) run(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) apply(ctx context.Context, t *testing.T, yaml string) {
	t.Helper()
	if out, err := w.Apply(ctx, yaml); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (w *world) soon(ctx context.Context, t *testing.T, desc string, done func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	if err := w.Wait(ctx, desc, done); err != nil {
		t.Fatal(err)
	}
}

// addr is the address of a pod.
func (w *world) addr(ctx context.Context, t *testing.T, pod string) netip.Addr {
	t.Helper()
	addr, err := netip.ParseAddr(w.run(ctx, t, "get", "pod", pod, "-o", "jsonpath={.status.podIP}"))
	if err != nil {
		t.Fatalf("pod %s: %v", pod, err)
	}
	return addr
}

// stable is the address a node has towards pods.
func (w *world) stable(t *testing.T, node string) netip.Addr {
	t.Helper()
	addr, err := w.StableAddr(node)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func (w *world) accounted(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, node := range w.nodes {
		if err := Accounted(ctx, w.Cluster, node); err != nil {
			t.Error(err)
		}
	}
}
