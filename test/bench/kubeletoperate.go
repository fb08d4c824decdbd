package main

import (
	"context"
	"errors"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/kubelet/operate"
)

// kubeletOperate is the one line of the case. The sums are those of the operations with a backend in the kernel, and are to be 0.
type kubeletOperate struct {
	Bench       string `json:"bench"`
	Nodes       int    `json:"nodes"`
	Lost        int64  `json:"lost"`
	WrongSource int64  `json:"wrongSource"`
	Broken      int64  `json:"broken"`
	Failed      int    `json:"failedRequests"`
	// Operations were measured with the backend vxlan, UDP with one whose data path is the agent's process.
	Operations []operate.Operation `json:"operations"`
	UDP        []operate.Operation `json:"udp"`
	Errors     []string            `json:"errors,omitempty"`
}

// operateRate is requests per second of each kind of client, beside the streams of packets.
const operateRate = 60

func benchKubeletOperate(ctx context.Context, s settings, c *cluster.Cluster) error {
	w, err := operate.Prepare(ctx, c, operateRate, func(format string, args ...any) { say("  "+format, args...) })
	if err != nil {
		return err
	}
	defer w.Close()
	out := kubeletOperate{Bench: "kubelet-operate", Nodes: 3}
	run := func(into *[]operate.Operation, op func(context.Context) (operate.Operation, error)) {
		if len(out.Errors) > 0 || ctx.Err() != nil {
			return
		}
		got, err := op(ctx)
		say("  %s: %.1f s, lost %d of %d, longest gap %.1f ms, %d of %d requests failed", got.Name, got.Seconds, got.Lost, got.Sent, got.GapMs,
			got.HTTP.Failed, got.HTTP.Requests)
		if err != nil {
			out.Errors = append(out.Errors, err.Error())
		}
		*into = append(*into, got)
	}
	upgrade := func(kind string) func(context.Context) (operate.Operation, error) {
		return func(ctx context.Context) (operate.Operation, error) { return w.Upgrade(ctx, kind) }
	}
	run(&out.Operations, upgrade(operate.CRDs))
	run(&out.Operations, upgrade(operate.Controller))
	run(&out.Operations, upgrade(operate.Agents))
	run(&out.Operations, w.DeleteAll)
	run(&out.Operations, func(ctx context.Context) (operate.Operation, error) { return w.StopControlPlane(ctx, s.kubelet.dark) })
	run(&out.Operations, func(ctx context.Context) (operate.Operation, error) { return w.Power(ctx, 0) })
	for _, op := range out.Operations {
		out.Lost += op.Lost
		out.WrongSource += op.WrongSource
		out.Broken += op.Broken
		out.Failed += op.HTTP.Failed
	}
	if len(out.Errors) == 0 {
		err = w.Settle(ctx, rollout.Change{Name: "udp", Backend: "{type: udp}"})
	}
	if err == nil {
		run(&out.UDP, w.RestartAgents)
		run(&out.UDP, w.DeleteAll)
	}
	for _, text := range out.Errors {
		err = errors.Join(err, errors.New(text))
	}
	return errors.Join(err, emit(out))
}
