package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab"
)

const (
	idleNode  = "n1" // whose agent is watched
	churnNode = "n2" // whose pods start and stop
	// heartbeatEvery is a kubelet's nodeStatusUpdateFrequency.
	heartbeatEvery = 10 * time.Second
	// nodeImages are as many as a kubelet reports (nodeStatusMaxImages). They make a Node the 9 kB it is in real clusters.
	nodeImages = 50
)

// idleResult: received and sent are IP bytes between the agent and the API server, headers included. node_watch_bytes is what
// a client receives in the same time that watches Nodes, as flannel does: the reference.
type idleResult struct {
	Bench          string  `json:"bench"`
	Seconds        float64 `json:"seconds"`
	CPU            float64 `json:"cpu_s"`
	Received       uint64  `json:"received_bytes"`
	Sent           uint64  `json:"sent_bytes"`
	NodeWatchBytes uint64  `json:"node_watch_bytes"`
	Ratio          float64 `json:"ratio"`
	Passes         int     `json:"passes"`
	RSS            float64 `json:"rss_mb"`
	PodStarts      int64   `json:"pod_starts"`
	Heartbeats     int64   `json:"heartbeats"`
}

type idleRun struct {
	*benchmarkLab
	agent              int // process
	watched            atomic.Uint64
	starts, heartbeats atomic.Int64
}

func benchIdle(ctx context.Context, s settings, l *benchmarkLab) error {
	r := &idleRun{benchmarkLab: l}
	var err error
	if r.agent, err = l.PID(lab.Agent(idleNode)); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer l.forgetAPI(ctx, idleNode)
	stop, err := r.watchNodes(ctx)
	if err != nil {
		return err
	}
	defer stop()
	time.Sleep(3 * time.Second) // until the agent is done with what has just changed
	result, err := r.watch(ctx, s.idle)
	if err != nil {
		return err
	}
	if err := r.stillWatching(ctx); err != nil {
		return err
	}
	return emit(result)
}

// prepare gives the Nodes their real size and counts the agent's packets.
func (r *idleRun) prepare(ctx context.Context) error {
	nodes, err := r.Nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		err := r.patchNode(ctx, n.Name, func(status *corev1.NodeStatus) {
			status.Images = nil
			for i := range nodeImages {
				name := fmt.Sprintf("registry.example.com/team/service-%d", i)
				status.Images = append(status.Images, corev1.ContainerImage{
					Names: []string{fmt.Sprintf("%s@sha256:%064x", name, i), name + ":v1.0.0"}, SizeBytes: int64(i) << 20,
				})
			}
		})
		if err != nil {
			return err
		}
	}
	return r.countAPI(ctx, idleNode)
}

// watchNodes is the reference: a client that watches Nodes. The bytes it reads are counted.
func (r *idleRun) watchNodes(ctx context.Context) (stop func(), err error) {
	cfg, err := r.RESTConfig()
	if err != nil {
		return nil, err
	}
	scheme, err := lab.Scheme()
	if err != nil {
		return nil, err
	}
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return countedConn{conn, &r.watched}, err
	}
	reader, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	events, err := reader.Watch(ctx, &corev1.NodeList{})
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	go func() {
		for range events.ResultChan() {
		}
	}()
	return events.Stop, nil
}

// countedConn counts what is read.
type countedConn struct {
	net.Conn
	received *atomic.Uint64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(uint64(n))
	return n, err
}

// idleState is what the agent has used so far.
type idleState struct {
	cpu                      time.Duration
	received, sent, nodeList uint64
	passes                   float64
}

func (r *idleRun) state(ctx context.Context) (s idleState, err error) {
	s.nodeList = r.watched.Load()
	if s.received, err = r.counter(ctx, idleNode, "received"); err != nil {
		return s, err
	}
	if s.sent, err = r.counter(ctx, idleNode, "sent"); err != nil {
		return s, err
	}
	if s.passes, err = r.metric(ctx, idleNode, "hopsack_agent_pass_duration_seconds_count"); err != nil {
		return s, err
	}
	s.cpu, err = cpuTime(r.agent)
	return s, err
}

// watch lets the others be busy for a while.
func (r *idleRun) watch(ctx context.Context, d time.Duration) (idleResult, error) {
	before, err := r.state(ctx)
	if err != nil {
		return idleResult{}, err
	}
	start := time.Now()
	busy, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	group, busy := errgroup.WithContext(busy)
	group.Go(func() error { return every(busy, time.Second, r.churn) })
	group.Go(func() error { return every(busy, heartbeatEvery, r.beat) })
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return idleResult{}, err
	}
	took := time.Since(start)
	after, err := r.state(ctx)
	if err != nil {
		return idleResult{}, err
	}
	rss, _, err := residentMemory(r.agent)
	if err != nil {
		return idleResult{}, err
	}
	result := idleResult{
		Bench: "idle", Seconds: round(took.Seconds(), 1), CPU: round((after.cpu - before.cpu).Seconds(), 3),
		Received: after.received - before.received, Sent: after.sent - before.sent, NodeWatchBytes: after.nodeList - before.nodeList,
		Passes: int(after.passes - before.passes), RSS: round(float64(rss)/mebibyte, 1),
		PodStarts: r.starts.Load(), Heartbeats: r.heartbeats.Load(),
	}
	result.Ratio = round(float64(result.Received)/float64(max(1, result.NodeWatchBytes)), 4)
	say("  %.0f s: %.3f s of CPU, %d bytes received, %d passes; a watch of Nodes received %d bytes",
		result.Seconds, result.CPU, result.Received, result.Passes, result.NodeWatchBytes)
	return result, r.busyEnough(result)
}

// busyEnough checks that the others did what they were to do.
func (r *idleRun) busyEnough(result idleResult) error {
	seconds := int64(result.Seconds)
	switch {
	case result.PodStarts < seconds/2:
		return fmt.Errorf("only %d pods were started and stopped in %d s", result.PodStarts, seconds)
	case result.NodeWatchBytes < uint64(result.Heartbeats)*1000:
		return fmt.Errorf("%d heartbeats were written and a watch of Nodes received only %d bytes", result.Heartbeats, result.NodeWatchBytes)
	}
	return nil
}

// every calls f now and then once per period, until ctx ends. A call in progress is finished.
func every(ctx context.Context, period time.Duration, f func(context.Context) error) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := f(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// churn starts a pod and stops it, as the API and as the network see it.
func (r *idleRun) churn(ctx context.Context) error {
	no := false
	object := &corev1.Pod{Spec: corev1.PodSpec{
		NodeName: churnNode, ServiceAccountName: "hopsack-agent", AutomountServiceAccountToken: &no,
		Containers: []corev1.Container{{Name: "churn", Image: "bench/churn"}},
	}}
	object.Namespace, object.Name = "hopsack-system", fmt.Sprintf("churn-%d", r.starts.Load())
	if err := r.api.Create(ctx, object); err != nil {
		return fmt.Errorf("create pod: %w", err)
	}
	if _, err := r.AddPod(ctx, lab.PodSpec{Name: "churn", Node: churnNode}); err != nil {
		return err
	}
	if err := r.DelPod(ctx, "churn"); err != nil {
		return err
	}
	if err := r.api.Delete(ctx, object, client.GracePeriodSeconds(0)); err != nil {
		return fmt.Errorf("delete pod: %w", err)
	}
	r.starts.Add(1)
	return nil
}

// beat writes every Node's heartbeat.
func (r *idleRun) beat(ctx context.Context) error {
	nodes, err := r.Nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := r.patchNode(ctx, n.Name, heartbeat); err != nil {
			return err
		}
		r.heartbeats.Add(1)
	}
	return nil
}

// stillWatching proves that silence was not deafness: a change that concerns the agent arrives, and the counter sees it.
func (r *idleRun) stillWatching(ctx context.Context) error {
	before, err := r.counter(ctx, idleNode, "received")
	if err != nil {
		return err
	}
	for _, on := range []bool{true, false} {
		generation, err := r.exempt(ctx, idleNode, on)
		if err != nil {
			return err
		}
		if err := r.wait(ctx, "the agent to carry out a change", func() (bool, error) { return r.inSync(ctx, idleNode, generation) }); err != nil {
			return err
		}
	}
	after, err := r.counter(ctx, idleNode, "received")
	if err == nil && after < before+1000 {
		err = fmt.Errorf("the agent was told of two changes in %d bytes: its packets are not all counted", after-before)
	}
	return err
}
