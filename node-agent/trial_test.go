package nodeagent

import (
	"slices"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/probe"
)

// underTrial plays a trial of 4 s with asks that last as they do: three tries, 150 ms apart, the last one waited for as long. gone
// says whether a try at that time of the trial is lost. It returns the verdict, and when it was a failure first.
func underTrial(t *testing.T, gone func(path string, at time.Duration) bool) (trial, time.Duration) {
	t.Helper()
	type ask struct {
		e    *entry
		done time.Time
		ok   bool
	}
	l, w := newLedger(), world{}
	l.set(rolling(), now)
	begin := w.play(l, now, 3*time.Second)
	l.set(rolling(switched), begin)
	var open []ask
	for at := begin; at.Before(begin.Add(4 * time.Second)); at = at.Add(time.Millisecond) {
		for e, _ := l.take(at); e != nil; e, _ = l.take(at) {
			one := ask{e: e, done: at.Add(450 * time.Millisecond)}
			for try := range 3 {
				sent := at.Add(time.Duration(try) * 150 * time.Millisecond)
				if e.key.Node != "n3" || !gone(e.path.Name, sent.Sub(begin)) {
					one.done, one.ok = sent.Add(time.Millisecond), true
					break
				}
			}
			open = append(open, one)
		}
		open = slices.DeleteFunc(open, func(a ask) bool {
			if a.done.After(at) {
				return false
			}
			if l.answer(a.e, probe.Answer{OK: a.ok, Small: a.ok}, at) {
				a.e.finding = probe.Finding{Reason: v1alpha1.ProbeNoAnswer, Message: "why"}
			}
			a.e.inFlight = false
			return true
		})
		if got := l.trial(); len(got.Failing) > 0 {
			return got, at.Sub(begin)
		}
	}
	return l.trial(), 0
}

// A peer whose agent starts anew while a node is on trial answers no probe for a while, whatever the path: that is no reason to go
// back, whenever it begins and however long it takes.
func TestTrialWhilePeersRestart(t *testing.T) {
	for from := time.Duration(0); from < 600*time.Millisecond; from += 75 * time.Millisecond {
		for lasts := 50 * time.Millisecond; lasts < 2500*time.Millisecond; lasts += 75 * time.Millisecond {
			got, _ := underTrial(t, func(_ string, at time.Duration) bool { return at >= from && at < from+lasts })
			if len(got.Failing) > 0 || !got.Reached {
				t.Errorf("silent from %s for %s: %+v", from, lasts, got)
			}
		}
	}
}

// A path that does not work is left about as soon as two asks have failed.
func TestTrialThatFailsIsShort(t *testing.T) {
	got, after := underTrial(t, func(path string, _ time.Duration) bool { return path != "a/routes" })
	if len(got.Failing) != 1 || after > 1200*time.Millisecond {
		t.Errorf("%+v after %s, want n3 failing within 1.2 s", got, after)
	}
}
