package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// benchmarkLab is the cluster that its cases share: n1 and n2 on one segment, n3 behind a router, a pod p<i> on each.
type benchmarkLab struct {
	*lab.Cluster
	api client.WithWatch
}

// clusterTimeout bounds every wait in the lab.
const clusterTimeout = time.Minute

func clusterCases() []benchCase {
	return append([]benchCase{
		{name: "restart", what: "kill an agent and start it again, until it is ready and until it is in sync", onLab: benchRestart},
		{name: "idle", what: "an agent while another node's pods start and stop and all nodes' heartbeats are written", onLab: benchIdle},
		{name: "drift", what: "break what hopsack owns, one thing at a time, until it is back", onLab: benchDrift},
	}, scaleCases()...)
}

// inLab starts the lab, runs f and takes the lab down, whatever happens in between.
func inLab(ctx context.Context, f func(*benchmarkLab)) (err error) {
	dir, err := os.MkdirTemp("", "hopsack-bench-")
	if err != nil {
		return err
	}
	cluster, err := lab.OpenConfig(lab.Config{Dir: dir, Out: prefixed{}})
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	say("== starting a lab in %s", dir)
	defer func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterTimeout)
		defer cancel()
		if downErr := cluster.Down(down); downErr != nil {
			err = errors.Join(err, fmt.Errorf("take the lab down (again by hand: bin/lab down --dir %s): %w", dir, downErr))
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	l := &benchmarkLab{Cluster: cluster}
	if err := l.up(ctx); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	f(l)
	return nil
}

// prefixed prints the lab's progress, indented.
type prefixed struct{}

func (prefixed) Write(b []byte) (int, error) {
	say("  lab: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

func (l *benchmarkLab) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*clusterTimeout)
	defer cancel()
	config := filepath.Join("config", "samples", "networkconfig.yaml")
	if err := l.Up(ctx, lab.Options{Nodes: 3, Routed: 1, ConfigFile: config}); err != nil {
		return err
	}
	for i := 1; i <= 3; i++ {
		if _, err := l.AddPod(ctx, lab.PodSpec{Name: fmt.Sprintf("p%d", i), Node: fmt.Sprintf("n%d", i), Wait: clusterTimeout}); err != nil {
			return err
		}
	}
	var err error
	l.api, err = l.Client()
	return err
}

// nodeNetwork reads a node's NodeNetwork.
func (l *benchmarkLab) nodeNetwork(ctx context.Context, node string) (*v1alpha1.NodeNetwork, error) {
	var nn v1alpha1.NodeNetwork
	return &nn, l.api.Get(ctx, client.ObjectKey{Name: node}, &nn)
}

// exempt adds a range to what is not masqueraded, or takes it away: a change that every agent has to carry out and that costs
// no packet. It returns once the controller has given it to the node, with the generation that has it.
func (l *benchmarkLab) exempt(ctx context.Context, node string, on bool) (generation int64, err error) {
	before, err := l.nodeNetwork(ctx, node)
	if err != nil {
		return 0, err
	}
	var cfg v1alpha1.NetworkConfig
	if err := l.api.Get(ctx, client.ObjectKey{Name: v1alpha1.NetworkConfigName}, &cfg); err != nil {
		return 0, err
	}
	old := cfg.DeepCopy()
	cfg.Spec.IPMasq = &v1alpha1.IPMasq{}
	if on {
		cfg.Spec.IPMasq.NonMasqueradeCIDRs = []string{"198.51.100.0/24"}
	}
	if err := l.api.Patch(ctx, &cfg, client.MergeFrom(old)); err != nil {
		return 0, fmt.Errorf("patch the NetworkConfig: %w", err)
	}
	err = l.wait(ctx, "the controller to hand the change to "+node, func() (bool, error) {
		nn, err := l.nodeNetwork(ctx, node)
		if err != nil {
			return false, err
		}
		generation = nn.Generation
		return generation > before.Generation, nil
	})
	return generation, err
}

// inSync says whether the node has carried out and reported a generation.
func (l *benchmarkLab) inSync(ctx context.Context, node string, generation int64) (bool, error) {
	nn, err := l.nodeNetwork(ctx, node)
	if err != nil {
		return false, err
	}
	return nn.Status.ObservedGeneration >= generation && meta.IsStatusConditionTrue(nn.Status.Conditions, v1alpha1.ConditionReady), nil
}

// wait is Wait with a deadline of its own.
func (l *benchmarkLab) wait(ctx context.Context, desc string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return l.Wait(ctx, desc, done)
}

// web returns a client that is in a node's network and keeps no connection.
func (l *benchmarkLab) web(node string) (*http.Client, error) {
	path, err := l.NetNS(node)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = lab.WithNetNS(path, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 2 * time.Second}, nil
}

// metric is the sum over a metric's labels, from a node's agent.
func (l *benchmarkLab) metric(ctx context.Context, node, name string) (float64, error) {
	out, err := l.Exec(ctx, node, "curl", "-sf", "http://127.0.0.1:10472/metrics")
	if err != nil {
		return 0, err
	}
	total, found := 0.0, false
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] != name && !strings.HasPrefix(fields[0], name+"{") {
			continue
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		total, found = total+value, true
	}
	if !found {
		return 0, fmt.Errorf("the agent of %s has no metric %s", node, name)
	}
	return total, nil
}

// probe counts what two pods lose of each other's packets while during runs. A probe that the machine was too busy for still
// counts; the progress says so.
func (l *benchmarkLab) probe(ctx context.Context, from, to string, rate int, during func(context.Context) error) (loss.Result, error) {
	ends := make([]loss.Endpoint, 2)
	for i, name := range []string{from, to} {
		path, err := l.NetNS(name)
		if err != nil {
			return loss.Result{}, err
		}
		addr, err := l.PodIP(name)
		if err != nil {
			return loss.Result{}, err
		}
		ends[i] = loss.Endpoint{Name: name, NetNS: path, Addr: addr}
	}
	got, err := loss.Run(ctx, loss.Options{From: ends[0], To: ends[1], Rate: rate, During: during})
	var overload *loss.OverloadError
	if errors.As(err, &overload) {
		say("  %s to %s: %v", from, to, overload)
		var inside *loss.CommandError
		if !errors.As(err, &inside) {
			err = nil
		}
	}
	if err == nil && got.Sent == 0 {
		err = fmt.Errorf("nothing was sent from %s to %s", from, to)
	}
	return got, err
}

// nodeAddress is a node's underlay address.
func (l *benchmarkLab) nodeAddress(node string) (netip.Addr, error) {
	addrs, err := l.Addrs(node)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, errors.Join(fmt.Errorf("find the address of %s", node), err)
	}
	return addrs[0], nil
}

// patchNode changes a Node's status.
func (l *benchmarkLab) patchNode(ctx context.Context, name string, change func(*corev1.NodeStatus)) error {
	var node corev1.Node
	if err := l.api.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
		return err
	}
	before := node.DeepCopy()
	change(&node.Status)
	if err := l.api.Status().Patch(ctx, &node, client.StrategicMergeFrom(before)); err != nil {
		return fmt.Errorf("patch status of node %s: %w", name, err)
	}
	return nil
}

// heartbeat is what a kubelet writes every ten seconds at the most.
func heartbeat(status *corev1.NodeStatus) {
	for i := range status.Conditions {
		if status.Conditions[i].Type == corev1.NodeReady {
			status.Conditions[i].LastHeartbeatTime = metav1.Now()
		}
	}
}
