package nodeagent

import (
	"time"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

const (
	// holdFirst is how long a direct path that was given up for the second time in a row is left alone although it answers, doubled
	// for every further time up to holdMax. The first time it is taken again at once.
	holdFirst = 10 * time.Second
	holdMax   = 5 * time.Minute
	// lossesLast is how long a direct path must have held for its losses to be forgotten.
	lossesLast = 10 * time.Minute
)

// lose takes back that the path is proven.
func (e *entry) lose(now time.Time) {
	if e.proven && e.key.Kind == desired.ProbeDirect {
		if now.Sub(e.lost) > lossesLast {
			e.losses = 0
		}
		e.losses++
		e.lost = now
	}
	e.proven = false
}

// held says that a direct path which answers is not to be used yet, because it breaks again and again: noticing that costs packets
// every time, and the tunnel loses none.
func (e *entry) held(now time.Time) bool {
	if e.proven || e.losses < 2 || e.key.Kind != desired.ProbeDirect {
		return false
	}
	return now.Sub(e.lost) < min(holdFirst<<min(e.losses-2, 10), holdMax)
}
