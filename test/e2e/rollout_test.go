package e2e

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// rounds is how often chains are gone through, and how many crashes there are of each kind.
var rounds = flag.Int("rounds", 1, "rounds of every chain of changes, and crashes of each kind")

// world is the cluster as the scenarios have it.
func world(t *testing.T) *rollout.World {
	t.Helper()
	w, err := rollout.New(cluster, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// lossless fails the test for every path that lost something, and logs all figures.
func lossless(t *testing.T, what string, l rollout.Loss) {
	t.Helper()
	for _, p := range l.Paths {
		t.Logf("%s: %s %s: sent %d, lost %d, wrong source %d, broken %d, longest gap %.1f ms, TCP stall %.1f ms, probe's jitter %.1f ms, machine dropped %d, unread %d",
			what, p.Path, p.Size, p.Sent, p.Lost, p.WrongSource, p.Broken, p.GapMs, p.StallMs, p.JitterMs, p.MachineDropped, p.Overflowed)
		// What the machine's own input queues dropped is not the network's loss.
		if p.Sent == 0 || p.Lost > p.MachineDropped || p.WrongSource > 0 || p.Broken > 0 {
			for _, s := range p.Streams {
				t.Logf("  %s: %+v", s.Name, s.Counts)
			}
			t.Errorf("%s: %s %s lost %d of %d, %d from a wrong source, %d connections broken (%s)",
				what, p.Path, p.Size, p.Lost, p.Sent, p.WrongSource, p.Broken, p.FirstError)
		}
	}
	if t.Failed() {
		for _, n := range nodes {
			t.Logf("kernel of %s: %s", n, sh(t, n, dropCounters))
		}
	}
}

// probeGroups are the measurements of a round that run at the same time: two paths each, because connection tracking has room
// for that many new ports, one with small packets and one with full ones, by turns from round to round.
func probeGroups(round int, paths ...rollout.Path) [][]rollout.Probe {
	sizes := []int{loss.DefaultSize, loss.SizeMax}
	var out [][]rollout.Probe
	for i := 0; i < len(paths); i += 2 {
		var probes []rollout.Probe
		for k, p := range paths[i:min(i+2, len(paths))] {
			probes = append(probes, rollout.Probe{Path: p, Size: sizes[(round+i/2+k)%2]})
		}
		out = append(out, probes)
	}
	return out
}

// chain goes through changes under measurement, connections living on from step to step, and sees that nothing is left over.
func chain(t *testing.T, w *rollout.World, changes []rollout.Change, paths ...rollout.Path) {
	t.Helper()
	waitReady(t)
	before, err := w.AtRest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for round := range *rounds {
		for _, probes := range probeGroups(round, paths...) {
			l, err := w.Measure(t.Context(), probes, func(ctx context.Context) error {
				for _, c := range changes {
					timing, err := w.Settle(ctx, c)
					if err != nil {
						return err
					}
					t.Logf("%s: kubectl %.0f ms, Ready after %.0f ms, phases %v", c.Name, timing.KubectlMs, timing.TotalMs, timing.PhasesMs)
				}
				return nil
			})
			lossless(t, "chain", l)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.LeavesNothing(t.Context(), before); err != nil {
		t.Error(err)
	}
}

// Every step between backends, on one segment and across the router, loses nothing.
func TestChangingBackendsLosesNothing(t *testing.T) {
	chain(t, world(t), rollout.Chain(), rollout.SameSegment, rollout.Routed, rollout.FromNode, rollout.ByNodePort)
}

// host-gw works where no node is behind a router, and loses nothing either.
func TestChangingBackendsOnASegmentLosesNothing(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	if err := cluster.DelNode(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.AddNode(ctx, "n3", true); err != nil {
			t.Fatal(err)
		}
		wait(t, "a pod on n3", func() (bool, error) {
			err := addPod(ctx, "p3", "n3")
			return err == nil, err
		})
		waitReady(t)
		allPing(t)
	}()
	saved := nodes
	nodes = []string{"n1", "n2"}
	defer func() { nodes = saved }()
	chain(t, world(t), rollout.SegmentChain(), rollout.SameSegment, rollout.ByNodePort)
}

// What cannot carry packets between some pair is found out before anything moves.
func TestImpossibleChangesMoveNothing(t *testing.T) {
	w := world(t)
	for _, r := range rollout.Refusals() {
		t.Run(r.Name, func(t *testing.T) {
			got, err := w.Refuse(t.Context(), r, probes())
			t.Logf("after %.0f ms: %s", got.TookMs, got.Message)
			if err != nil {
				t.Error(err)
			}
			lossless(t, r.Name, got.Loss)
		})
	}
}

// probes are those of scenarios that are about something else than the path.
func probes() []rollout.Probe {
	return []rollout.Probe{{Path: rollout.SameSegment, Size: loss.DefaultSize}, {Path: rollout.Routed, Size: loss.SizeMax}}
}

// Direct routing with proof falls back where it does not work, and comes by itself when it does.
func TestVerifiedFallsBack(t *testing.T) {
	got, err := world(t).FallBack(t.Context(), probes())
	t.Logf("after %.0f ms: %s", got.TookMs, got.Message)
	if err != nil {
		t.Error(err)
	}
	lossless(t, got.Name, got.Loss)
}

// A rollout that a firewall stalls goes on by itself when the firewall is gone.
func TestStalledRolloutGoesOn(t *testing.T) {
	got, err := world(t).GoesOn(t.Context(), probes())
	t.Logf("%.0f ms after the firewall was gone: %s", got.TookMs, got.Message)
	if err != nil {
		t.Error(err)
	}
	lossless(t, got.Name, got.Loss)
}

// A node that cannot use what it was switched to goes back by itself; the others stay or follow, as the policy says. What the
// firewall ate meanwhile is lost.
func TestNodeRevertsInSwitchPhase(t *testing.T) {
	for _, policy := range []v1alpha1.FailurePolicy{v1alpha1.FailurePause, v1alpha1.FailureRollback} {
		t.Run(string(policy), func(t *testing.T) {
			got, err := world(t).FailsInSwitch(t.Context(), policy, rollout.Of(loss.DefaultSize, rollout.Routed))
			t.Logf("%.0f ms after the firewall was there: %s; lost %d of %d", got.TookMs, got.Message, got.Lost, got.Sent)
			if err != nil {
				t.Error(err)
			}
			// The firewall is n2's: nobody else's packets meet it.
			lossless(t, got.Name, got.Loss)
		})
	}
}

// Whatever crashes at whatever moment, rollouts end, nothing is left over and nothing is lost.
func TestCrashesDuringRolloutsLoseNothing(t *testing.T) {
	w := world(t)
	for _, storm := range []func(context.Context, int) (rollout.Storm, error){w.KillAgents, w.KillControllers, w.PauseLeaders} {
		got, err := storm(t.Context(), *rounds)
		t.Logf("%s %d times: slowest rollout %.0f ms", got.Name, got.Crashes, got.SlowestMs)
		if err != nil {
			t.Errorf("%s: %v", got.Name, err)
		}
		lossless(t, got.Name, got.Loss)
	}
}

// Partitions, lags, joins and reboots cost nobody a packet but who is away.
func TestTroubleDuringRolloutsLosesNothing(t *testing.T) {
	w := world(t)
	for _, run := range []func(context.Context) (rollout.Trouble, error){
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.BeforeRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.DuringRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.CutFromAPI(ctx, rollout.AfterRollout) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Lag(ctx, "leases", 2*time.Second) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Lag(ctx, "nodenetworks", time.Second) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Join(ctx, false) },
		func(ctx context.Context) (rollout.Trouble, error) { return w.Reboot(ctx) },
	} {
		got, err := run(t.Context())
		if err != nil {
			t.Errorf("%s: %v", got.Name, err)
		}
		lossless(t, got.Name, got.Loss)
	}
	allPing(t)
}
