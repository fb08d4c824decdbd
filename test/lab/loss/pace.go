package loss

import (
	"time"

	"golang.org/x/sys/unix"
)

// maxCatchUp is the most a pacer sends in a burst after it was kept from running. What was due longer ago is never
// sent: a burst of thousands would overflow queues and look like the network's loss.
const maxCatchUp = 100 * time.Millisecond

// pace calls tick once for every period that has passed since start, by absolute time, so that being late does not
// lower the rate. late is how long after its time the tick runs; skipped is how many ticks were given up just before
// it. It returns when tick returns false. It must run on a locked thread (see realtime).
func pace(period time.Duration, tick func(late time.Duration, skipped int64) bool) {
	start := time.Now()
	for n := int64(1); ; n++ {
		due := start.Add(time.Duration(n) * period)
		sleepUntil(due)
		late := time.Since(due)
		skipped := giveUp(late, period)
		n += skipped
		if !tick(late, skipped) {
			return
		}
	}
}

// giveUp returns how many ticks to leave out when one is late.
func giveUp(late, period time.Duration) int64 {
	if late <= maxCatchUp {
		return 0
	}
	return int64((late - maxCatchUp) / period)
}

func sleepUntil(due time.Time) {
	for {
		left := time.Until(due)
		if left <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(left))
		// Returns early on a signal (the runtime preempts with SIGURG): look at the clock again.
		_ = unix.Nanosleep(&ts, nil)
	}
}

// realtime makes the calling thread, which must be locked, as punctual as an ordinary thread gets: no timer slack and
// the best nice value. Without privilege it stays as it is, which shows as jitter. Not SCHED_RR: a real-time thread of
// Go that spins for work starves the thread it waits for, which has cost a second at a time.
func realtime() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20) // 0: the calling thread
}
