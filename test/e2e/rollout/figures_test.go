package rollout

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func TestFiguresAdd(t *testing.T) {
	sum := Figures{Sent: 10, Lost: 1, GapMs: 5, FirstError: "first"}
	sum.Add(Figures{Sent: 20, WrongSource: 2, Broken: 3, GapMs: 4, StallMs: 9, JitterMs: 1, MachineDropped: 7, Overflowed: 8, FirstError: "second"})
	want := Figures{Sent: 30, Lost: 1, WrongSource: 2, Broken: 3, GapMs: 5, StallMs: 9, JitterMs: 1, MachineDropped: 7, Overflowed: 8, FirstError: "first"}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for figures, want := range map[Figures]bool{
		{Sent: 1}: true, {}: false, {Sent: 1, Lost: 1}: false, {Sent: 1, Lost: 1, MachineDropped: 1}: true, {Sent: 1, Broken: 1}: false,
		{Sent: 1, WrongSource: 1}: false,
	} {
		if got := figures.Clean(); got != want {
			t.Errorf("%+v: clean %t, want %t", figures, got, want)
		}
	}
}

func TestYAML(t *testing.T) {
	c := Change{Backend: "{type: udp}", MTU: 1300, Rollout: "{maxConcurrent: 1}"}
	if got, want := c.YAML(), "\n  backend: {type: udp}\n  mtu: 1300\n  rollout: {maxConcurrent: 1}\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %q at its end", got, want)
	}
	if got := vxlan.YAML(); strings.Contains(got, "mtu") || strings.Contains(got, "rollout") {
		t.Errorf("what is not set is there: %s", got)
	}
}

// Every chain begins after VXLAN and ends with it, so that chains and scenarios can follow each other.
func TestChainsEndWhereTheyBegin(t *testing.T) {
	for _, chain := range [][]Change{Chain(), SegmentChain()} {
		if got := chain[len(chain)-1].Name; got != vxlan.Name {
			t.Errorf("the last step is %s, want %s", got, vxlan.Name)
		}
	}
}

func TestGateHappensOnceForAll(t *testing.T) {
	happened := 0
	g := &gate{missing: 3, open: make(chan struct{}), during: func(context.Context) error {
		happened++
		return errors.New("of the thing itself")
	}}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := g.pass(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if happened != 1 || g.err == nil {
		t.Errorf("it happened %d times, error %v; want once, with its error", happened, g.err)
	}
}

func TestTimingSplitsThePhases(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := &recorder{at: map[int64]time.Time{}, phases: map[int64][]phase{}}
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	for _, p := range []struct {
		name v1alpha1.RolloutPhase
		ms   int
	}{{v1alpha1.PhasePreparing, 20}, {v1alpha1.PhasePreparing, 20}, {v1alpha1.PhaseSwitching, 120}, {v1alpha1.PhaseSettled, 420}} {
		begun := metav1.NewMicroTime(at(p.ms))
		cfg.Status.Rollout = &v1alpha1.RolloutStatus{Generation: 2, Phase: p.name, PhaseStartedAt: &begun}
		r.see(cfg)
	}
	if _, err := r.settledAt(2); err == nil {
		t.Error("settled without a condition")
	}
	want := Timing{TotalMs: 430, StartedMs: 20, PhasesMs: map[string]float64{"Preparing": 100, "Switching": 300}, LastMs: 10}
	if diff := cmp.Diff(want, r.timing(2, start, at(430))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	cfg.Status.ObservedGeneration = 2
	cfg.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 2}}
	r.see(cfg)
	if _, err := r.settledAt(2); err != nil {
		t.Errorf("not settled: %v", err)
	}
}

func TestTroubleTellsOwnFromOthers(t *testing.T) {
	var out Trouble
	out.take(Loss{Paths: []PathLoss{
		{Path: SameSegment.String(), Figures: Figures{Sent: 1, Lost: 1}}, {Path: Routed.String(), Figures: Figures{Sent: 2}},
	}}, SameSegment)
	if out.Own.Lost != 1 || out.Own.Sent != 1 || out.Others.Sent != 2 || out.Others.Lost != 0 {
		t.Errorf("own %+v, others %+v", out.Own, out.Others)
	}
}
