package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// Trouble is what came of something that happened to a node during rollouts: what was lost on the others' paths and on its own.
type Trouble struct {
	Name   string  `json:"name"`
	Own    Figures `json:"own"`
	Others Figures `json:"others"`
	Loss   Loss    `json:"-"`
}

// When is a moment of a rollout.
type When string

// Moments.
const (
	BeforeRollout When = "before"
	DuringRollout When = "during"
	AfterRollout  When = "after"
)

// own says which of a trouble's probes end at n2, to which it happens.
func (t *Trouble) take(l Loss, own ...Path) {
	t.Loss.Add(l)
	for _, p := range l.Paths {
		others := true
		for _, o := range own {
			if p.Path == o.String() {
				t.Own.Add(p.Figures)
				others = false
			}
		}
		if others {
			t.Others.Add(p.Figures)
		}
	}
}

// CutFromAPI cuts n2 off from the API server, not from its peers, before, during or after a rollout, for a while.
func (w *World) CutFromAPI(ctx context.Context, when When) (out Trouble, err error) {
	out.Name = "n2 cut off from the API server " + string(when) + " a rollout"
	defer after(ctx, &err, func(ctx context.Context) error {
		err := w.Lab.Uncut(ctx, "n2")
		_, settleErr := w.Settle(ctx, vxlan)
		return errors.Join(err, settleErr)
	})
	cut := func(ctx context.Context) error { return w.Lab.Cut(ctx, "n2", lab.CutAPI) }
	l, err := w.Measure(ctx, Of(loss.DefaultSize, SameSegment, Routed), func(ctx context.Context) error {
		if when == BeforeRollout {
			if err := cut(ctx); err != nil {
				return err
			}
		}
		generation, err := w.Apply(ctx, vni7)
		if err != nil {
			return err
		}
		switch when {
		case BeforeRollout:
			if err := w.waitsFor(ctx, "n2"); err != nil {
				return err
			}
		case DuringRollout:
			if err := errors.Join(w.pause(ctx, at()/4), cut(ctx)); err != nil {
				return err
			}
		case AfterRollout:
			if err := errors.Join(w.AwaitSettled(ctx, generation), cut(ctx)); err != nil {
				return err
			}
		}
		if err := errors.Join(w.pause(ctx, 3*time.Second), w.Lab.Uncut(ctx, "n2")); err != nil {
			return err
		}
		if err := w.AwaitSettled(ctx, generation); err != nil {
			return err
		}
		return w.takesEffect(ctx, vni7)
	})
	out.take(l, SameSegment)
	return out, err
}

// waitsFor waits until status says that the rollout waits for a node.
func (w *World) waitsFor(ctx context.Context, node string) error {
	return w.within(ctx, "status to say that it waits for "+node, func() (bool, error) {
		cfg, err := w.Config(ctx)
		if err != nil || cfg.Status.Rollout == nil {
			return false, err
		}
		for _, n := range cfg.Status.Rollout.WaitingFor {
			if n == node {
				return true, nil
			}
		}
		return false, fmt.Errorf("it waits for %v", cfg.Status.Rollout.WaitingFor)
	})
}

// Lag has a watch of n2's agent ("leases" or "nodenetworks") show everything late by lag, during some rollouts.
func (w *World) Lag(ctx context.Context, resource string, lag time.Duration) (out Trouble, err error) {
	out.Name = fmt.Sprintf("n2's watch of %s lags %s", resource, lag)
	defer after(ctx, &err, func(ctx context.Context) error {
		err := w.Lab.Delay(ctx, lab.Agent("n2"), resource, 0)
		_, settleErr := w.Settle(ctx, vxlan)
		return errors.Join(err, settleErr)
	})
	if err := w.Lab.Delay(ctx, lab.Agent("n2"), resource, lag); err != nil {
		return out, err
	}
	l, err := w.Measure(ctx, Of(loss.DefaultSize, SameSegment, Routed), func(ctx context.Context) error {
		for _, c := range []Change{vni7, vxlan} {
			if _, err := w.Settle(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	out.take(l, SameSegment)
	return out, err
}

// Join has a node, n7, join in the middle of a rollout. Its own path is measured from when it has a pod, during two further
// rollouts.
func (w *World) Join(ctx context.Context, routed bool) (out Trouble, err error) {
	out.Name = "n7 joins in the middle"
	if routed {
		out.Name += ", behind a router"
	}
	defer after(ctx, &err, func(ctx context.Context) error {
		err := w.Lab.DelNode(ctx, "n7")
		_, settleErr := w.Settle(ctx, vxlan)
		return errors.Join(err, settleErr)
	})
	l, err := w.Measure(ctx, Of(loss.DefaultSize, SameSegment, Routed), func(ctx context.Context) error {
		_, err := w.crashDuring(ctx, vni7, func(ctx context.Context) error { return w.Lab.AddNode(ctx, "n7", routed) })
		if err != nil {
			return err
		}
		if err := w.Plug(ctx, "p7", "n7"); err != nil {
			return err
		}
		return errors.Join(w.Reaches(ctx, "p7", "p1"), w.Reaches(ctx, "p7", "p2"), w.Reaches(ctx, "p1", "p7"))
	})
	out.take(l)
	if err != nil {
		return out, err
	}
	own := Path{From: "p1", To: "p7"}
	l, err = w.Measure(ctx, Of(loss.DefaultSize, own), func(ctx context.Context) error {
		for _, c := range []Change{onLink, vxlan} {
			if _, err := w.Settle(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	out.take(l, own)
	return out, err
}

// Reboot has n2 reboot in the middle of a rollout. Its pod dies with it: its own path is measured after it is back, during two
// further rollouts.
func (w *World) Reboot(ctx context.Context) (out Trouble, err error) {
	out.Name = "n2 reboots in the middle"
	defer after(ctx, &err, func(ctx context.Context) error {
		_, err := w.Settle(ctx, vxlan)
		return err
	})
	l, err := w.Measure(ctx, Of(loss.DefaultSize, Routed), func(ctx context.Context) error {
		_, err := w.crashDuring(ctx, vni7, func(ctx context.Context) error { return w.Lab.RebootNode(ctx, "n2") })
		return err
	})
	out.take(l)
	if err != nil {
		return out, err
	}
	if err := w.Plug(ctx, "p2", "n2"); err != nil {
		return out, err
	}
	if err := errors.Join(w.Reaches(ctx, "p1", "p2"), w.Reaches(ctx, "p2", "p3")); err != nil {
		return out, err
	}
	l, err = w.Measure(ctx, Of(loss.DefaultSize, SameSegment, Routed), func(ctx context.Context) error {
		for _, c := range []Change{onLink, vxlan} {
			if _, err := w.Settle(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	out.take(l, SameSegment)
	return out, err
}

// Round runs a chain of changes once, each measured by itself, and adds the figures to steps, by the changes' names and in
// their order.
func (w *World) Round(ctx context.Context, chain []Change, probes []Probe, steps *Steps) error {
	for i, c := range chain {
		var t Timing
		l, err := w.Measure(ctx, probes, func(ctx context.Context) (err error) {
			t, err = w.Settle(ctx, c)
			return err
		})
		steps.add(i, c.Name, l, t)
		if err != nil {
			return err
		}
	}
	return nil
}

// Steps are the figures of a chain, step by step, over all rounds.
type Steps []Step

// Step is one of them.
type Step struct {
	Name   string `json:"step"`
	Rounds int    `json:"rounds"`
	Figures
	Timings []Timing   `json:"-"`
	Paths   []PathLoss `json:"-"`
}

func (s *Steps) add(i int, name string, l Loss, t Timing) {
	for len(*s) <= i {
		*s = append(*s, Step{})
	}
	step := &(*s)[i]
	step.Name = name
	step.Rounds++
	step.Figures.Add(l.Figures)
	step.Paths = append(step.Paths, l.Paths...)
	step.Timings = append(step.Timings, t)
}
