package load

import (
	"context"
	"fmt"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
)

// The changes; the network is VXLAN before.
var (
	vxlan    = rollout.Change{Name: "vxlan", Backend: "{type: vxlan}", Near: "hs1-8472", Far: "hs1-8472"}
	verified = rollout.Change{Name: "Verified", Backend: "{type: vxlan, vxlan: {directRouting: Verified}}", Near: "eth0", Far: "hs1-8472"}
	vni9     = rollout.Change{Name: "VNI 9", Backend: "{type: vxlan, vxlan: {vni: 9}}", Near: "hs9-8472", Far: "hs9-8472"}
	udp      = rollout.Change{Name: "udp", Backend: "{type: udp}", Near: "hsu8285", Far: "hsu8285"}
)

// Chain are changes that are measured one by one and end where they began.
func Chain() []rollout.Change { return []rollout.Change{verified, vni9, vxlan} }

// ShortChain is Chain without the step between.
func ShortChain() []rollout.Change { return []rollout.Change{verified, vxlan} }

// UDPChain goes through a backend whose data path is the agent's process.
func UDPChain() []rollout.Change { return []rollout.Change{udp, vxlan} }

// aside is how long a change is measured before it is applied and after it is in effect.
const aside = time.Second

// Step is what was measured while one change was made.
type Step struct {
	Change string `json:"change"`
	// ApplyToReadyMs is from when kubectl was called until the change was in effect; 0 without a change.
	ApplyToReadyMs float64 `json:"applyToReadyMs,omitempty"`
	Result
}

// Control measures for a while in which nothing is changed.
func Control(ctx context.Context, g *Generator, d time.Duration) (Step, error) {
	result, err := g.Measure(ctx, func(ctx context.Context) error { return Pause(ctx, d) })
	return Step{Change: "none", Result: result}, err
}

// Run makes changes one after the other and measures each. The steps are those that were begun when it fails.
func Run(ctx context.Context, w *rollout.World, g *Generator, chain []rollout.Change) ([]Step, error) {
	var steps []Step
	for _, c := range chain {
		var timing rollout.Timing
		result, err := g.Measure(ctx, func(ctx context.Context) (err error) {
			if err := Pause(ctx, aside); err != nil {
				return err
			}
			if timing, err = w.Settle(ctx, c); err != nil {
				return err
			}
			return Pause(ctx, aside)
		})
		steps = append(steps, Step{Change: c.Name, ApplyToReadyMs: timing.TotalMs, Result: result})
		if err != nil {
			return steps, fmt.Errorf("change to %s: %w", c.Name, err)
		}
	}
	return steps, nil
}

// Pause waits for d, or until ctx is done, which is an error.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
