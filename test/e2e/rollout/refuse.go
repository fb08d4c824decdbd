package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Refusal is a change that cannot work, for a reason that only packets can tell.
type Refusal struct {
	Name string
	// Before is in effect when it is asked for.
	Before   Change
	Obstacle Obstacle
	Change   Change
	// Says are parts of the message.
	Says []string
	// Pair is one of the pairs that status lists, in either order.
	Pair [2]string
}

// Refusals are all that a rollout must refuse before anything moves. The world has a node behind a router.
func Refusals() []Refusal {
	port := Change{Name: "port 4790", Backend: "{type: vxlan, vxlan: {port: 4790}}"}
	small, large := vxlan, vxlan
	small.Name, small.MTU = "MTU 1300", 1300
	large.Name, large.MTU = "MTU 1450", 1450
	return []Refusal{
		{Name: "host-gw across a router", Before: vxlan, Change: hostGW, Says: []string{"host-gw", "router", "n3"}, Pair: [2]string{"n1", "n3"}},
		{
			Name: "UDP port dropped by a firewall", Before: vxlan, Obstacle: portDropped("n2", 4790), Change: port,
			Says: []string{"no answer over UDP 4790 from 172.30."}, Pair: [2]string{"n1", "n2"},
		},
		{
			Name: "underlay too small", Before: small, Obstacle: smallUnderlay("n2", 1400), Change: large,
			// The bridge lets pass four bytes more than its port carries.
			Says: []string{"path MTU 1354 < 1450"}, Pair: [2]string{"n1", "n2"},
		},
		{
			Name: "FORWARD policy of another tool", Before: vxlan, Obstacle: foreignForward("n2", "hs1-8472"), Change: vni7,
			Says: []string{"FORWARD"}, Pair: [2]string{"n1", "n2"},
		},
		{
			Name: "direct routing where pod addresses are dropped", Before: vxlan, Obstacle: podAddressesDropped(), Change: onLink,
			Says: []string{"drops pod addresses"}, Pair: [2]string{"n1", "n2"},
		},
	}
}

// Refused is what came of a Refusal.
type Refused struct {
	Name string `json:"name"`
	// Message is what its author is told.
	Message string `json:"message"`
	// TookMs is from kubectl's start until the author is told.
	TookMs float64 `json:"tookMs"`
	Figures
	Loss Loss `json:"-"`
}

// hold is how long a stalled rollout is watched: much longer than a step takes.
const hold = time.Second

// Refuse asks for a change that cannot work, and takes the wish back. Anything that moved is an error.
func (w *World) Refuse(ctx context.Context, r Refusal, probes []Probe) (out Refused, err error) {
	out.Name = r.Name
	if _, err := w.Settle(ctx, r.Before); err != nil {
		return out, err
	}
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	defer after(ctx, &err, func(ctx context.Context) error { return w.remove(ctx, r.Obstacle) })
	before, err := w.AtRest(ctx)
	if err != nil {
		return out, err
	}
	out.Loss, err = w.Measure(ctx, probes, func(ctx context.Context) error {
		if err := w.put(ctx, r.Obstacle); err != nil {
			return err
		}
		if err := w.refuse(ctx, r, &out); err != nil {
			return err
		}
		_, err := w.Settle(ctx, r.Before)
		return err
	})
	out.Figures = out.Loss.Figures
	if err != nil {
		return out, err
	}
	return out, w.LeavesNothing(ctx, before)
}

// refuse asks, sees the refusal, and that routes are byte for byte what they were.
func (w *World) refuse(ctx context.Context, r Refusal, out *Refused) error {
	before, err := w.Routes(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	generation, err := w.Apply(ctx, r.Change)
	if err != nil {
		return err
	}
	reason, message, err := w.AwaitStalled(ctx, generation)
	if err != nil {
		return err
	}
	out.Message, out.TookMs = reason+": "+message, millis(time.Since(start))
	if err := w.pause(ctx, hold); err != nil {
		return err
	}
	now, err := w.Routes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if now != before {
		errs = append(errs, fmt.Errorf("routes before:\n%s\nand now:\n%s", before, now))
	}
	if reason != v1alpha1.ReasonVerificationFailed {
		errs = append(errs, fmt.Errorf("reason %s, want %s", reason, v1alpha1.ReasonVerificationFailed))
	}
	for _, want := range r.Says {
		if !strings.Contains(message, want) {
			errs = append(errs, fmt.Errorf("message lacks %q: %s", want, message))
		}
	}
	cfg, err := w.Config(ctx)
	if err == nil && !lists(cfg.Status.FailingPairs, r.Pair) {
		err = fmt.Errorf("failing pairs %v lack %v", cfg.Status.FailingPairs, r.Pair)
	}
	return errors.Join(append(errs, err)...)
}

// lists says whether a pair is listed, in either order.
func lists(pairs []v1alpha1.NodePair, want [2]string) bool {
	return slices.ContainsFunc(pairs, func(p v1alpha1.NodePair) bool {
		return p.From == want[0] && p.To == want[1] || p.From == want[1] && p.To == want[0]
	})
}

// pause waits.
func (w *World) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// FallBack applies direct routing with proof where the segment drops pod addresses: it completes, with the pair encapsulated
// and listed, and the pair moves by itself when the segment lets pods pass. The message of the pair is returned.
func (w *World) FallBack(ctx context.Context, probes []Probe) (out Refused, err error) {
	out.Name = "Verified where pod addresses are dropped"
	guard := podAddressesDropped()
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	defer after(ctx, &err, func(ctx context.Context) error { return w.remove(ctx, guard) })
	encapsulated := verified
	encapsulated.Near = "hs1-8472"
	out.Loss, err = w.Measure(ctx, probes, func(ctx context.Context) error {
		if err := w.put(ctx, guard); err != nil {
			return err
		}
		start := time.Now()
		if _, err := w.Settle(ctx, encapsulated); err != nil {
			return err
		}
		out.TookMs = millis(time.Since(start))
		err := w.within(ctx, "the pair to be listed", func() (bool, error) {
			cfg, err := w.Config(ctx)
			for _, p := range cfg.Status.EncapsulatedPairs {
				out.Message = p.From + " to " + p.To + ": " + p.Message
			}
			return err == nil && lists(cfg.Status.EncapsulatedPairs, [2]string{"n1", "n2"}), err
		})
		if err != nil {
			return err
		}
		if err := w.remove(ctx, guard); err != nil {
			return err
		}
		return w.takesEffect(ctx, verified)
	})
	out.Figures = out.Loss.Figures
	return out, err
}

// GoesOn has a firewall stall a rollout, removes it, and waits until the rollout has ended by itself.
func (w *World) GoesOn(ctx context.Context, probes []Probe) (out Refused, err error) {
	out.Name = "firewall removed"
	wall := portDropped("n2", 4790)
	port := Change{Name: "port 4790", Backend: "{type: vxlan, vxlan: {port: 4790}}", Near: "hs1-4790", Far: "hs1-4790"}
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	defer after(ctx, &err, func(ctx context.Context) error { return w.remove(ctx, wall) })
	out.Loss, err = w.Measure(ctx, probes, func(ctx context.Context) error {
		if err := w.put(ctx, wall); err != nil {
			return err
		}
		generation, err := w.Apply(ctx, port)
		if err != nil {
			return err
		}
		if _, out.Message, err = w.AwaitStalled(ctx, generation); err != nil {
			return err
		}
		if err := w.remove(ctx, wall); err != nil {
			return err
		}
		removed := time.Now()
		if err := w.AwaitSettled(ctx, generation); err != nil {
			return err
		}
		out.TookMs = millis(time.Since(removed))
		return w.takesEffect(ctx, port)
	})
	out.Figures = out.Loss.Figures
	return out, err
}

// FailsInSwitch puts a firewall up after every pair was proven and the other nodes have switched, so that n2 cannot use what it
// is asked to send with. With Pause the others stay, with Rollback all go back. Then the wall goes, and a retry completes.
func (w *World) FailsInSwitch(ctx context.Context, policy v1alpha1.FailurePolicy, probes []Probe) (out Refused, err error) {
	out.Name = "firewall added while switching, " + string(policy)
	wall := portDropped("n2", 4790)
	port := Change{
		Name: "port 4790", Backend: "{type: vxlan, vxlan: {port: 4790}}", Near: "hs1-4790", Far: "hs1-4790",
		Rollout: fmt.Sprintf(`{maxConcurrent: "100%%", onFailure: %s}`, policy),
	}
	agent := "agent/n2"
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	defer after(ctx, &err, func(ctx context.Context) error {
		return errors.Join(w.Lab.Resume(ctx, agent), w.remove(ctx, wall), w.Annotate(ctx, v1alpha1.PausedAnnotation, ""))
	})
	before, err := w.Config(ctx)
	if err != nil {
		return out, err
	}
	source := before.Status.ActiveRevision
	out.Loss, err = w.Measure(ctx, probes, func(ctx context.Context) error {
		generation, err := w.switchAllBut(ctx, port, agent)
		if err != nil {
			return err
		}
		if err := errors.Join(w.put(ctx, wall), w.Lab.Resume(ctx, agent)); err != nil {
			return err
		}
		walled := time.Now()
		if err := w.awaitFailure(ctx, generation, source, policy); err != nil {
			return err
		}
		out.TookMs = millis(time.Since(walled))
		if _, out.Message, err = w.AwaitStalled(ctx, generation); err != nil {
			return err
		}
		if err := errors.Join(w.remove(ctx, wall), w.Annotate(ctx, v1alpha1.RetryAnnotation, strconv.FormatInt(time.Now().UnixNano(), 36))); err != nil {
			return err
		}
		if err := w.AwaitSettled(ctx, generation); err != nil {
			return err
		}
		return w.takesEffect(ctx, port)
	})
	out.Figures = out.Loss.Figures
	return out, err
}

// switchAllBut rolls a change out as far as it goes without one agent, which is paused once everything is proven.
func (w *World) switchAllBut(ctx context.Context, c Change, agent string) (generation int64, err error) {
	if err := w.Annotate(ctx, v1alpha1.PausedAnnotation, "true"); err != nil {
		return 0, err
	}
	if generation, err = w.Apply(ctx, c); err != nil {
		return 0, err
	}
	var target string
	err = w.within(ctx, "every pair to be proven", func() (bool, error) {
		cfg, err := w.Config(ctx)
		s := cfg.Status
		target = s.TargetRevision
		return err == nil && s.ObservedGeneration == generation && s.Rollout != nil && s.Rollout.Generation == generation &&
			s.Nodes.Total > 0 && s.Nodes.Verified == s.Nodes.Total, err
	})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(w.Lab.Pause(ctx, agent), w.Annotate(ctx, v1alpha1.PausedAnnotation, "")); err != nil {
		return 0, err
	}
	nodes, err := w.nodes()
	if err != nil {
		return 0, err
	}
	for _, n := range nodes {
		err := w.within(ctx, n+" to switch", func() (bool, error) {
			nn, err := w.NodeNetwork(ctx, n)
			switched := nn.Spec.Transmit == target
			if "agent/"+n != agent {
				switched = switched && nn.Status.TransmitRevision == target
			}
			return err == nil && switched, err
		})
		if err != nil {
			return 0, err
		}
	}
	return generation, nil
}

// awaitFailure waits until n2 has reverted by itself, status says so, and everybody is where the policy wants them.
func (w *World) awaitFailure(ctx context.Context, generation int64, source string, policy v1alpha1.FailurePolicy) error {
	err := w.within(ctx, "status to name the node that failed", func() (bool, error) {
		cfg, err := w.Config(ctx)
		if err != nil || cfg.Status.Rollout == nil || cfg.Status.Rollout.Failure == nil {
			return false, err
		}
		f := cfg.Status.Rollout.Failure
		if f.Node != "n2" || f.Generation != generation || f.Policy != policy {
			return false, fmt.Errorf("failure of %s in generation %d with %s, want n2, %d, %s", f.Node, f.Generation, f.Policy, generation, policy)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	nodes, err := w.nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		back := policy == v1alpha1.FailureRollback || n == "n2"
		err := w.within(ctx, fmt.Sprintf("%s to be where %s wants it", n, policy), func() (bool, error) {
			nn, err := w.NodeNetwork(ctx, n)
			return err == nil && (nn.Spec.Transmit == source) == back && nn.Status.TransmitRevision == nn.Spec.Transmit, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
