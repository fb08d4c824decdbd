package nodeagent

import (
	"testing"
	"time"
)

// A direct path that breaks again and again is used ever less often; one that broke once is taken again as soon as it answers.
func TestFlappingDirectPath(t *testing.T) {
	var w world
	l := newLedger()
	l.set(inUse(), now)
	at := w.play(l, now, 5*time.Second)
	const step = 10 * time.Millisecond
	taken, wasted, used := 0, time.Duration(0), true
	for range 60 { // four minutes of two seconds each way
		for _, w.blocked = range []map[string]bool{blocked("n3 a/direct"), nil} {
			for range 2 * time.Second / step {
				at = w.play(l, at, step)
				direct := l.direct()["a"]["n3"]
				if direct && !used {
					taken++
				}
				if used = direct; used && w.blocked != nil {
					wasted += step
				}
			}
		}
	}
	if taken < 3 || taken > 7 { // at once, then after 10, 20, 40 and 80 s
		t.Errorf("taken again %d times", taken)
	}
	if wasted > 14*time.Second {
		t.Errorf("used for %s while it was blocked, of two minutes", wasted)
	}
	if v := l.verifications()[0]; !used && (v.EncapsulatedCount != 1 || v.Encapsulated[0].Message == "") {
		t.Errorf("not listed: %+v", v)
	}
	at = w.play(l, at, holdMax+10*time.Second)
	if !l.direct()["a"]["n3"] {
		t.Fatal("not taken again although it has held for long")
	}
	at = w.play(l, at, lossesLast)
	w.blocked = blocked("n3 a/direct")
	at = w.play(l, at, 5*time.Second)
	w.blocked = nil
	if w.play(l, at, 8*time.Second); !l.direct()["a"]["n3"] {
		t.Error("what was long ago counts")
	}
}
