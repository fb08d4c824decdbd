package main

import (
	"context"
	"errors"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/kubelet/load"
)

// kubeletLoad is the one line of the case.
type kubeletLoad struct {
	Bench string `json:"bench"`
	Nodes int    `json:"nodes"`
	Pods  int    `json:"pods"`
	// Rate is requests per second of each kind of client.
	Rate float64 `json:"rate"`
	// Requests and Failed are over the changes, SlowestMs their slowest answer.
	Requests  int     `json:"requests"`
	Failed    int     `json:"failed"`
	SlowestMs float64 `json:"slowestMs"`
	// Control is the same load without a change.
	Control load.Step   `json:"control"`
	Changes []load.Step `json:"changes"`
	// UDP is a backend whose data path is the agent's process: it is in no sum.
	UDP []load.Step `json:"udp"`
}

// loadPods are the pods that answer.
const loadPods = 6

func benchKubeletLoad(ctx context.Context, s settings, c *cluster.Cluster) error {
	w, err := worldOf(c)
	if err != nil {
		return err
	}
	if err := threePods(ctx, c); err != nil {
		return err
	}
	nodes := []string{"n1", "n2", "n3"}
	svc, err := load.Deploy(ctx, c, "web", loadPods, nodes...)
	if err != nil {
		return err
	}
	clients, err := load.Clients(c, svc, s.kubelet.rate, nodes...)
	if err != nil {
		return err
	}
	g, err := load.Start(ctx, clients)
	if err != nil {
		return err
	}
	defer g.Stop()
	out := kubeletLoad{Bench: "kubelet-load", Nodes: len(nodes), Pods: loadPods, Rate: s.kubelet.rate}
	if out.Control, err = load.Control(ctx, g, 10*time.Second); err != nil {
		return err
	}
	tell(out.Control)
	out.Changes, err = runLoad(ctx, w, g, load.Chain())
	for _, step := range out.Changes {
		out.Requests += step.Requests
		out.Failed += step.Failed
		out.SlowestMs = max(out.SlowestMs, step.SlowestMs)
	}
	var udpErr error
	if err == nil {
		out.UDP, udpErr = runLoad(ctx, w, g, load.UDPChain())
	}
	return errors.Join(err, udpErr, emit(out))
}

func runLoad(ctx context.Context, w *rollout.World, g *load.Generator, chain []rollout.Change) ([]load.Step, error) {
	steps, err := load.Run(ctx, w, g, chain)
	for _, step := range steps {
		tell(step)
	}
	return steps, err
}

func tell(s load.Step) {
	say("  %s: %d of %d requests failed, slowest %.1f ms, generator late %.1f ms", s.Change, s.Failed, s.Requests, s.SlowestMs, s.LateMs)
	for _, e := range s.Errors {
		say("    %s", e)
	}
}
