package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// rolloutSettings are the flags of the case rollout.
type rolloutSettings struct {
	rounds, kills, pauses int
	// parts are what is run, separated by commas.
	parts string
}

// rolloutParts are the parts in the order in which they run.
var rolloutParts = []string{"steps", "segment", "refusals", "firewall", "crashes", "trouble"}

func rolloutCases() []benchCase {
	return []benchCase{{
		name: "rollout", what: "change backends under traffic, with obstacles, crashes and partitions (an hour; runs only when named)",
		asked: true, onLab: benchRollout,
	}}
}

// rolloutResult is the one line of the case.
type rolloutResult struct {
	Bench  string `json:"bench"`
	Rounds int    `json:"rounds"`
	Kills  int    `json:"kills"`
	Pauses int    `json:"pauses"`
	Nodes  int    `json:"nodes"`
	// Lost, WrongSource and Broken are the sums over all that has a target of zero: everything but the firewall added in the
	// switch phase.
	Lost        int64 `json:"lost"`
	WrongSource int64 `json:"wrongSource"`
	Broken      int64 `json:"broken"`

	Chain    *chainResult      `json:"chain,omitempty"`
	Segment  *chainResult      `json:"segment,omitempty"`
	Refused  []rollout.Refused `json:"refused,omitempty"`
	Fallback *rollout.Refused  `json:"verifiedFallsBack,omitempty"`
	Firewall []rollout.Refused `json:"firewall,omitempty"`
	Crashes  []rollout.Storm   `json:"crashes,omitempty"`
	Trouble  []rollout.Trouble `json:"trouble,omitempty"`
	// Errors are parts that did not go as they should.
	Errors []string `json:"errors,omitempty"`
}

// chainResult is a chain of changes over all rounds.
type chainResult struct {
	// Control is the same measurement without a change.
	Control rollout.Figures `json:"control"`
	Steps   []stepResult    `json:"steps"`
	// ApplyToReadyMs is over all steps; PhasesMs are the medians of where it goes.
	ApplyToReadyMs spread             `json:"applyToReadyMs"`
	KubectlMs      float64            `json:"kubectlMs"`
	PhasesMs       map[string]float64 `json:"phasesMs"`
}

// stepResult is one step over all rounds.
type stepResult struct {
	Step string `json:"step"`
	rollout.Figures
	ApplyToReadyMs spread             `json:"applyToReadyMs"`
	PhasesMs       map[string]float64 `json:"phasesMs"`
}

// spread is the median and the extremes.
type spread struct {
	Min float64 `json:"min"`
	P50 float64 `json:"p50"`
	Max float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{Min: slices.Min(values), P50: median(values), Max: slices.Max(values)}
}

func benchRollout(ctx context.Context, s settings, l *benchmarkLab) error {
	r := s.rollout
	w, err := rollout.New(l.Cluster, func(format string, args ...any) { say("  "+format, args...) })
	if err != nil {
		return err
	}
	out := &rolloutResult{Bench: "rollout", Rounds: r.rounds, Kills: r.kills, Pauses: r.pauses, Nodes: 3}
	run := map[string]func(context.Context, *rollout.World, rolloutSettings, *rolloutResult) error{
		"steps": benchSteps, "segment": benchSegment, "refusals": benchRefusals, "firewall": benchFirewall, "crashes": benchCrashes,
		"trouble": benchTrouble,
	}
	chosen := strings.Split(r.parts, ",")
	for _, part := range chosen {
		if run[part] == nil {
			return fmt.Errorf("no part %q: want some of %s", part, strings.Join(rolloutParts, ","))
		}
	}
	for _, part := range rolloutParts {
		if !slices.Contains(chosen, part) || ctx.Err() != nil {
			continue
		}
		say("rollout: %s", part)
		if err := run[part](ctx, w, r, out); err != nil {
			say("  %s: %v", part, err)
			out.Errors = append(out.Errors, part+": "+err.Error())
		}
	}
	if err := emit(out); err != nil {
		return err
	}
	if len(out.Errors) > 0 {
		return errors.New(strings.Join(out.Errors, "; "))
	}
	return nil
}

// book adds figures to the sums that are to be zero.
func (r *rolloutResult) book(f rollout.Figures) {
	r.Lost += f.Lost
	r.WrongSource += f.WrongSource
	r.Broken += f.Broken
}

// routedGroups and segmentGroups are what is measured at the same time: as much as two cores and the connection tables take.
// Every path is probed with small packets and with full ones.
func routedGroups() [][]rollout.Probe {
	return [][]rollout.Probe{
		{{Path: rollout.SameSegment, Size: loss.DefaultSize}, {Path: rollout.Routed, Size: loss.SizeMax}},
		{{Path: rollout.SameSegment, Size: loss.SizeMax}, {Path: rollout.Routed, Size: loss.DefaultSize}},
		{{Path: rollout.FromNode, Size: loss.DefaultSize}, {Path: rollout.ByNodePort, Size: loss.SizeMax}},
		{{Path: rollout.FromNode, Size: loss.SizeMax}, {Path: rollout.ByNodePort, Size: loss.DefaultSize}},
	}
}

func segmentGroups() [][]rollout.Probe {
	return [][]rollout.Probe{
		{{Path: rollout.SameSegment, Size: loss.DefaultSize}, {Path: rollout.FromNode, Size: loss.SizeMax}},
		{{Path: rollout.ByNodePort, Size: loss.DefaultSize}, {Path: rollout.SameSegment, Size: loss.SizeMax}},
		{{Path: rollout.FromNode, Size: loss.DefaultSize}, {Path: rollout.ByNodePort, Size: loss.SizeMax}},
	}
}

func benchSteps(ctx context.Context, w *rollout.World, s rolloutSettings, out *rolloutResult) (err error) {
	out.Chain, err = benchChain(ctx, w, s.rounds, rollout.Chain(), routedGroups(), out)
	return err
}

// benchSegment takes the node behind the router away meanwhile.
func benchSegment(ctx context.Context, w *rollout.World, s rolloutSettings, out *rolloutResult) (err error) {
	if err := w.Lab.DelNode(ctx, "n3"); err != nil {
		return err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, w.Lab.AddNode(ctx, "n3", true), w.Plug(ctx, "p3", "n3"), w.Reaches(ctx, "p1", "p3"))
	}()
	out.Segment, err = benchChain(ctx, w, s.rounds, rollout.SegmentChain(), segmentGroups(), out)
	return err
}

// benchChain goes through a chain, round after round, each step measured by itself, and once per round and group through
// nothing at all.
func benchChain(ctx context.Context, w *rollout.World, rounds int, chain []rollout.Change, groups [][]rollout.Probe, out *rolloutResult) (*chainResult, error) {
	result := &chainResult{}
	before, err := w.AtRest(ctx)
	if err != nil {
		return result, err
	}
	var steps rollout.Steps
	defer func() {
		result.sum(steps)
		for _, step := range steps {
			out.book(step.Figures)
		}
	}()
	for round := range rounds {
		for _, probes := range groups {
			control, err := w.Measure(ctx, probes, func(ctx context.Context) error {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(controlTime):
					return nil
				}
			})
			result.Control.Add(control.Figures)
			if err != nil {
				return result, err
			}
			if err := w.Round(ctx, chain, probes, &steps); err != nil {
				return result, err
			}
		}
		lost, sent := int64(0), int64(0)
		for _, step := range steps {
			lost, sent = lost+step.Lost, sent+step.Sent
		}
		say("  round %d of %d: lost %d of %d", round+1, rounds, lost, sent)
	}
	return result, w.LeavesNothing(ctx, before)
}

// controlTime is about as long as a step takes.
const controlTime = 2 * time.Second

// sum fills in what steps came to.
func (c *chainResult) sum(steps rollout.Steps) {
	var all []rollout.Timing
	for _, step := range steps {
		all = append(all, step.Timings...)
		c.Steps = append(c.Steps, stepResult{
			Step: step.Name, Figures: step.Figures, ApplyToReadyMs: spreadOf(totalsOf(step.Timings)), PhasesMs: phasesOf(step.Timings),
		})
	}
	var kubectl []float64
	for _, t := range all {
		kubectl = append(kubectl, t.KubectlMs)
	}
	c.ApplyToReadyMs, c.KubectlMs, c.PhasesMs = spreadOf(totalsOf(all)), median(kubectl), phasesOf(all)
}

func totalsOf(timings []rollout.Timing) []float64 {
	var out []float64
	for _, t := range timings {
		out = append(out, t.TotalMs)
	}
	return out
}

// phasesOf are the medians of where the time went. A phase that a change did not show took no time there.
func phasesOf(timings []rollout.Timing) map[string]float64 {
	values := map[string][]float64{}
	for _, t := range timings {
		values["untilTakenUp"] = append(values["untilTakenUp"], t.StartedMs)
		values["untilReadyShows"] = append(values["untilReadyShows"], t.LastMs)
		for name := range t.PhasesMs {
			values[name] = nil
		}
	}
	for name := range maps.Keys(values) {
		if values[name] != nil {
			continue
		}
		for _, t := range timings {
			values[name] = append(values[name], t.PhasesMs[name])
		}
	}
	out := map[string]float64{}
	for name, v := range values {
		out[name] = round(median(v), 1)
	}
	return out
}

// sidePaths are measured where the point is something else than the path.
func sidePaths() []rollout.Probe {
	return []rollout.Probe{{Path: rollout.SameSegment, Size: loss.DefaultSize}, {Path: rollout.Routed, Size: loss.SizeMax}}
}

func benchRefusals(ctx context.Context, w *rollout.World, _ rolloutSettings, out *rolloutResult) error {
	var errs []error
	for _, r := range rollout.Refusals() {
		got, err := w.Refuse(ctx, r, sidePaths())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, err))
		}
		say("  %s: %s", got.Name, got.Message)
		out.book(got.Figures)
		out.Refused = append(out.Refused, got)
	}
	got, err := w.FallBack(ctx, sidePaths())
	out.Fallback = &got
	out.book(got.Figures)
	return errors.Join(append(errs, err)...)
}

func benchFirewall(ctx context.Context, w *rollout.World, _ rolloutSettings, out *rolloutResult) error {
	got, err := w.GoesOn(ctx, sidePaths())
	errs := []error{err}
	out.book(got.Figures)
	out.Firewall = append(out.Firewall, got)
	for _, policy := range []v1alpha1.FailurePolicy{v1alpha1.FailurePause, v1alpha1.FailureRollback} {
		// The path that the firewall is on, by itself: it eats packets until the node that has it is given up.
		got, err := w.FailsInSwitch(ctx, policy, rollout.Of(loss.DefaultSize, rollout.SameSegment, rollout.Routed))
		errs = append(errs, err)
		out.Firewall = append(out.Firewall, got)
	}
	return errors.Join(errs...)
}

func benchCrashes(ctx context.Context, w *rollout.World, s rolloutSettings, out *rolloutResult) error {
	var errs []error
	for _, storm := range []struct {
		run   func(context.Context, int) (rollout.Storm, error)
		times int
	}{{w.KillAgents, s.kills}, {w.KillControllers, s.kills}, {w.PauseLeaders, s.pauses}} {
		got, err := storm.run(ctx, storm.times)
		errs = append(errs, err)
		out.book(got.Figures)
		out.Crashes = append(out.Crashes, got)
	}
	return errors.Join(errs...)
}

func benchTrouble(ctx context.Context, w *rollout.World, _ rolloutSettings, out *rolloutResult) error {
	var errs []error
	for _, run := range []func(context.Context) (rollout.Trouble, error){
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.BeforeRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.DuringRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.AfterRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Lag(ctx, "leases", 5*time.Second) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Lag(ctx, "nodenetworks", 5*time.Second) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Join(ctx, false) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Join(ctx, true) },
		w.Reboot,
	} {
		got, err := run(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", got.Name, err)
		}
		errs = append(errs, err)
		out.book(got.Own)
		out.book(got.Others)
		out.Trouble = append(out.Trouble, got)
		say("  %s: lost %d of its own, %d of others", got.Name, got.Own.Lost, got.Others.Lost)
	}
	return errors.Join(errs...)
}
