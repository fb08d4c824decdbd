package probe

import (
	"sync"
	"time"
)

// Answers are bounded because anybody in the cluster can send requests with a peer's address, and each costs this node a
// packet over the underlay. A rollout of 5,000 nodes that all ask at once is served within seconds, and asks again.
const (
	answersPerSecond = 2000
	answerBurst      = 2000
)

// bucket is a token bucket; the zero value is full.
type bucket struct {
	mu   sync.Mutex
	used float64 // guarded by mu, tokens missing
	last time.Time
}

// take takes a token, and says whether there was one.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if elapsed := now.Sub(b.last); elapsed > 0 {
		b.used = max(0, b.used-elapsed.Seconds()*answersPerSecond)
		b.last = now
	}
	if b.used+1 > answerBurst {
		return false
	}
	b.used++
	return true
}
