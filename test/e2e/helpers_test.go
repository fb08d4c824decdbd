package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// deadline bounds every wait. It is generous: machines are shared, and no test asserts time.
const deadline = 30 * time.Second

// api is a client with the rights of an administrator.
func api(t *testing.T) client.Client {
	t.Helper()
	c, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// in runs a command in a node or a pod and returns its output; a command that fails ends the test.
func in(t *testing.T, place string, argv ...string) string {
	t.Helper()
	out, err := cluster.Exec(t.Context(), place, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sh is in with a shell.
func sh(t *testing.T, place, script string) string {
	t.Helper()
	return in(t, place, "sh", "-c", script)
}

// kubectl runs kubectl as an administrator; a command that fails ends the test.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wait polls until done says so, and fails the test with desc when it never does.
func wait(t *testing.T, desc string, done func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := cluster.Wait(ctx, desc, done); err != nil {
		t.Fatal(err)
	}
}

// config returns the NetworkConfig.
func config(t *testing.T) v1alpha1.NetworkConfig {
	t.Helper()
	var cfg v1alpha1.NetworkConfig
	if err := api(t).Get(t.Context(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// nodeNetwork returns a node's NodeNetwork.
func nodeNetwork(t *testing.T, node string) v1alpha1.NodeNetwork {
	t.Helper()
	var nn v1alpha1.NodeNetwork
	if err := api(t).Get(t.Context(), client.ObjectKey{Name: node}, &nn); err != nil {
		t.Fatal(err)
	}
	return nn
}

// waitReady waits until the current generation of the NetworkConfig is in effect on every node.
func waitReady(t *testing.T) {
	t.Helper()
	wait(t, "networkconfig Ready", func() (bool, error) {
		cfg := config(t)
		ready := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionReady)
		progressing := meta.IsStatusConditionTrue(cfg.Status.Conditions, v1alpha1.ConditionProgressing)
		if ready == nil || cfg.Status.ObservedGeneration != cfg.Generation {
			return false, nil
		}
		if ready.Status != metav1.ConditionTrue || progressing {
			return false, fmt.Errorf("%s: %s", ready.Reason, ready.Message)
		}
		return true, nil
	})
}

// apply applies a file, and waits until it is in effect.
func apply(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Apply(t.Context(), string(text)); err != nil {
		t.Fatal(err)
	}
	waitReady(t)
}

// endpoint is a pod or a node as the loss probe has it.
func endpoint(t *testing.T, name string) loss.Endpoint {
	t.Helper()
	netns, err := cluster.NetNS(name)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := cluster.Addrs(name)
	if err != nil {
		t.Fatal(err)
	}
	e := loss.Endpoint{Name: name, NetNS: netns, Addr: addrs[0]}
	if strings.HasPrefix(name, "n") { // a node speaks to pods with its stable address
		e.Underlay = addrs[0]
		if e.Addr, err = cluster.StableAddr(name); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// path is what a loss measurement is about.
type path struct{ from, to, nodePort string }

func (p path) String() string {
	if p.nodePort != "" {
		return fmt.Sprintf("%s -> NodePort of %s -> %s", p.from, p.nodePort, p.to)
	}
	return p.from + " <-> " + p.to
}

// paths are all the ways traffic takes: on one segment, across the router, from a node, through a NodePort.
var paths = []path{
	{from: "p1", to: "p2"},
	{from: "p1", to: "p3"},
	{from: "n1", to: "p2"},
	{from: "client", to: "p2", nodePort: "n1"},
}

// dropCounters prints where a node's kernel may have dropped packets: the first question after a loss.
const dropCounters = `nstat -asz 2>/dev/null | awk '$2 > 0 && /Drop|Discard|NoRoutes|Filter|Overflow|Retrans|Err/ {printf "%s=%s ", $1, $2}'
conntrack -S 2>/dev/null | tr '\n' ' '
nft list table inet hopsack | grep counter
grep -H . /sys/class/net/*/statistics/*dropped /sys/class/net/*/statistics/*errors | grep -v ':0$' || true`

// losesNothing probes a path, all streams, while during runs, and fails the test when a packet or a connection is lost. It
// logs the figures.
func losesNothing(t *testing.T, p path, size int, during func(ctx context.Context) error) {
	t.Helper()
	opts := loss.Options{From: endpoint(t, p.from), To: endpoint(t, p.to), Rate: 1000, Size: size, TCP: true, During: during}
	if p.nodePort != "" {
		opts.NodePort = &loss.NodePort{Node: endpoint(t, p.nodePort)}
	}
	got, err := loss.Run(t.Context(), opts)
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	t.Logf("%s: sent %d, lost %d, wrong source %d, broken %d, longest gap %.1f ms, TCP stall %.1f ms, probe's jitter %.1f ms, machine dropped %d",
		p, got.Sent, got.Lost, got.WrongSource, got.Broken, got.LongestGapMs, got.TCPStallMs, got.JitterMs, got.MachineDropped)
	// What the machine's own input queues dropped, for whatever else runs on it, is not the network's loss.
	if got.Lost > got.MachineDropped || got.WrongSource > 0 || got.Broken > 0 || got.Sent == 0 {
		for _, s := range got.Streams {
			t.Logf("  %s: %+v", s.Name, s.Counts)
		}
		for _, n := range nodes {
			t.Logf("  kernel of %s: %s", n, sh(t, n, dropCounters))
		}
		t.Errorf("%s: %d of %d packets lost, %d from a wrong source, %d connections broken", p, got.Lost, got.Sent, got.WrongSource, got.Broken)
	}
}

// pings waits until one place reaches a pod: nodes hear of each other by their own watches, and a test may be quicker.
func pings(t *testing.T, from, pod string) {
	t.Helper()
	ip, err := cluster.PodIP(pod)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, from+" to reach "+pod, func() (bool, error) {
		_, err := cluster.Exec(t.Context(), from, "ping", "-c", "1", "-W", "2", ip.String())
		return err == nil, err
	})
}

// allPing checks every pair of pods, and every node to every pod.
func allPing(t *testing.T) {
	t.Helper()
	for pod := range pods {
		for other := range pods {
			if pod != other {
				pings(t, pod, other)
			}
		}
		for _, n := range nodes {
			pings(t, n, pod)
		}
	}
}

// restart kills an agent and starts it again, and waits until it has reported.
func restart(ctx context.Context, component string) error {
	if err := cluster.Kill(ctx, component); err != nil {
		return err
	}
	return cluster.Start(ctx, component)
}

// agents are the components of all nodes.
func agents() []string {
	var out []string
	for _, n := range nodes {
		out = append(out, lab.Agent(n))
	}
	return out
}

// addPod plugs a pod in, replacing one of that name.
func addPod(ctx context.Context, name, node string) error {
	if err := cluster.DelPod(ctx, name); err != nil {
		return err
	}
	_, err := cluster.AddPod(ctx, lab.PodSpec{Name: name, Node: node, Wait: deadline})
	return err
}

// conditionIs says whether a condition has a status.
func conditionIs(conditions []metav1.Condition, conditionType string, status metav1.ConditionStatus) bool {
	c := meta.FindStatusCondition(conditions, conditionType)
	return c != nil && c.Status == status
}

// passes is how many passes a node's agent has made.
func passes(t *testing.T, node string) string {
	t.Helper()
	const name = "hopsack_agent_pass_duration_seconds_count "
	for line := range strings.Lines(in(t, node, "curl", "-sf", "http://127.0.0.1:10472/metrics")) {
		if count, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(count)
		}
	}
	t.Fatalf("the agent of %s has no metric %s", node, name)
	return ""
}

func parse(t *testing.T, count string) int {
	t.Helper()
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// agentBinary is the agent's program.
func agentBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "hopsack-agent"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
