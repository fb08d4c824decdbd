package nodeagent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// A node that joins is let in when half of those it asks answer.
func TestGate(t *testing.T) {
	for name, tc := range map[string]struct {
		blocked map[string]bool
		want    bool
	}{
		"all answer": {nil, true},
		"half does":  {blocked("n3 "), true},
		"none does":  {blocked("n2 ", "n3 "), false},
	} {
		t.Run(name, func(t *testing.T) {
			w, l := world{blocked: tc.blocked}, newLedger()
			a := assignment{Transmit: "a", Gate: true, Probes: []desired.Probe{path("a", desired.ProbeCurrent)}}
			l.set(a, now)
			if l.admitted() {
				t.Error("admitted before anybody was asked")
			}
			at := w.play(l, now, 3*time.Second)
			if got := l.admitted(); got != tc.want {
				t.Errorf("admitted: %t, want %t", got, tc.want)
			}
			a.Gate = false
			l.set(a, at)
			w.asked = nil
			w.play(l, at, time.Minute)
			if len(w.asked) > 0 {
				t.Errorf("went on asking: %v", w.asked)
			}
			a.Gate = true
			if l.set(a, at); l.admitted() {
				t.Error("answers at the last endpoint count for the next one")
			}
		})
	}
}

func TestGateAsksFewOfMany(t *testing.T) {
	a := assignment{Transmit: "a", Gate: true, Probes: []desired.Probe{{Revision: "a", Kind: desired.ProbeCurrent}}}
	for n := range 200 {
		a.Probes[0].Targets = append(a.Probes[0].Targets, peer(n))
	}
	var w world
	l := newLedger()
	l.set(a, now)
	w.play(l, now, 3*time.Second)
	if n := len(w.asked); n != maxSampled {
		t.Errorf("asked %d peers, want %d", n, maxSampled)
	}
}

func TestCheck(t *testing.T) {
	w, l := world{blocked: blocked("n3 ")}, newLedger()
	a := assignment{Transmit: "a", Check: "1", Probes: []desired.Probe{path("a", desired.ProbeCurrent)}}
	a.Probes[0].Targets = append(a.Probes[0].Targets, peer(4), peer(5))
	l.set(a, now)
	if l.check.result != nil {
		t.Fatal("a result before anybody was asked")
	}
	at := w.play(l, now, 5*time.Second)
	got := l.check.result
	if got == nil {
		t.Fatal("no result")
	}
	if got.FinishedAt.Time.Before(now) {
		t.Errorf("finished at %s, before it began", got.FinishedAt)
	}
	got.FinishedAt.Reset()
	want := &v1alpha1.CheckResult{
		Request: "1", Peers: 4, Reached: 3, MedianMicroseconds: 4000, SlowestMicroseconds: 5000,
		Failing: []v1alpha1.FailingPeer{{Node: "n3", Reason: v1alpha1.ProbeNoAnswer, Message: "why"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
	w.blocked, w.asked = nil, nil
	l.set(a, at)
	at = w.play(l, at, time.Minute)
	if len(w.asked) > 0 {
		t.Errorf("a check that is done was made again: %v", w.asked)
	}
	a.Check = "2"
	l.set(a, at)
	w.play(l, at, 5*time.Second)
	if got := l.check.result; got.Request != "2" || got.Reached != 4 {
		t.Errorf("second check = %+v", got)
	}
}

// A check of a node without peers is done at once.
func TestCheckAlone(t *testing.T) {
	l := newLedger()
	l.set(assignment{Transmit: "a", Check: "1", Probes: []desired.Probe{{Revision: "a", Kind: desired.ProbeCurrent}}}, now)
	if got := l.check.result; got == nil || got.Peers != 0 {
		t.Errorf("result = %+v", got)
	}
}
