package nodeagent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// A rollout that is held, or waits for one pair, goes on by what is true then: a path that was proven and breaks meanwhile is
// found, and again when it opens.
func TestProofsAreKeptFresh(t *testing.T) {
	a := rolling()
	a.Probes = append(a.Probes, path("b", desired.ProbeDirect))
	var w world
	l := newLedger()
	l.set(a, now)
	at := w.play(l, now, time.Minute)
	if v := l.verifications()[1]; v.Verified != 2 || !l.direct()["b"]["n3"] {
		t.Fatalf("before anything breaks: %+v, direct %v", v, l.direct())
	}
	w.blocked = blocked("n2 b/routes", "n3 b/direct")
	at = w.play(l, at, 3*time.Second)
	if v := l.verifications()[1]; v.Verified != 1 || v.FailingCount != 1 || v.Failing[0].Node != "n2" {
		t.Errorf("after the path to n2 broke: %+v", v)
	}
	if diff := cmp.Diff(map[string]map[string]bool{"b": {"n2": true}}, l.direct()); diff != "" {
		t.Errorf("after the direct path to n3 broke (-want +got):\n%s", diff)
	}
	w.blocked = nil
	w.play(l, at, 6*time.Second)
	if v := l.verifications()[1]; v.Verified != 2 || !l.direct()["b"]["n3"] {
		t.Errorf("after they opened: %+v, direct %v", v, l.direct())
	}
}
