package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

const (
	restarts = 10
	// restartRate is the probe's packets per second of each stream: enough to see a gap of 5 ms, little enough not to slow
	// down what is measured.
	restartRate = 200
)

// restartResult: ready is from the start of the new process until /readyz answers 200, sync until it has also carried out and
// reported a change that was made while there was no agent. Exec is the start of the same program that only prints its
// help, in the same way: the floor. Ratio is ready over exec.
type restartResult struct {
	Bench    string  `json:"bench"`
	Restarts int     `json:"restarts"`
	KillP50  float64 `json:"kill_p50_ms"`
	ReadyP50 float64 `json:"ready_p50_ms"`
	ReadyMax float64 `json:"ready_max_ms"`
	SyncP50  float64 `json:"sync_p50_ms"`
	SyncMax  float64 `json:"sync_max_ms"`
	ExecP50  float64 `json:"exec_p50_ms"`
	Ratio    float64 `json:"ratio"`
	Sent     int64   `json:"sent"`
	Lost     int64   `json:"lost"`
	GapMs    float64 `json:"longest_gap_ms"`
	JitterMs float64 `json:"probe_jitter_ms"`
}

type restartRun struct {
	*benchmarkLab
	node                    string
	kill, ready, sync, exec sample
}

func benchRestart(ctx context.Context, _ settings, l *benchmarkLab) error {
	r := &restartRun{benchmarkLab: l, node: "n1"}
	probe, err := l.probe(ctx, "p1", "p2", restartRate, func(ctx context.Context) error {
		for i := range restarts {
			if err := r.floor(ctx); err != nil {
				return err
			}
			if err := r.once(ctx, i%2 == 0); err != nil {
				return err
			}
			say("  restart %d: ready after %.0f ms, in sync after %.0f ms", i+1, ms(r.ready[i]), ms(r.sync[i]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return emit(restartResult{
		Bench: "restart", Restarts: restarts, KillP50: ms(r.kill.p50()),
		ReadyP50: ms(r.ready.p50()), ReadyMax: ms(r.ready.p(1)), SyncP50: ms(r.sync.p50()), SyncMax: ms(r.sync.p(1)),
		ExecP50: ms(r.exec.p50()), Ratio: ratio(r.ready.p50(), r.exec.p50()),
		Sent: probe.Sent, Lost: probe.Lost, GapMs: probe.LongestGapMs, JitterMs: probe.JitterMs,
	})
}

// floor starts the agent's program on the node and lets it end at once.
func (r *restartRun) floor(ctx context.Context) error {
	path, err := filepath.Abs(filepath.Join("bin", "hopsack-agent"))
	if err != nil {
		return err
	}
	return r.exec.took(func() error {
		cmd := exec.CommandContext(ctx, path, "--help")
		if err := r.StartIn(r.node, cmd); err != nil {
			return err
		}
		return cmd.Wait()
	})
}

// once kills the agent, changes something, starts the agent and waits for it.
func (r *restartRun) once(ctx context.Context, exempt bool) error {
	agent := lab.Agent(r.node)
	if err := r.kill.took(func() error { return r.Kill(ctx, agent) }); err != nil {
		return err
	}
	generation, err := r.exempt(ctx, r.node, exempt)
	if err != nil {
		return err
	}
	if done, err := r.inSync(ctx, r.node, generation); err != nil || done {
		return fmt.Errorf("the agent of %s reports a change that was made after it was killed (%w)", r.node, err)
	}
	started := make(chan error, 1)
	start := time.Now()
	go func() { started <- r.Start(ctx, agent) }()
	if err := r.untilReady(ctx, r.node); err != nil {
		return err
	}
	r.ready = append(r.ready, time.Since(start))
	for {
		done, err := r.inSync(ctx, r.node, generation)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if time.Since(start) > clusterTimeout {
			return fmt.Errorf("the agent of %s is not in sync %s after its start", r.node, clusterTimeout)
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.sync = append(r.sync, time.Since(start))
	return <-started
}
