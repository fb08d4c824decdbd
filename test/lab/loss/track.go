package loss

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// arrivals is what the receiving end of a stream has seen. Times are nanoseconds of the wall clock, because that is
// what the kernel stamps packets with.
type arrivals struct {
	mu          sync.Mutex
	seen        []uint64 // bit set of sequence numbers
	received    int64
	duplicates  int64
	wrongSource int64
	first, last int64
	gap         int64

	want expectation

	warm     int64 // packets of the warm-up
	lastWarm int64 // when the last of them came
}

// expectation is the source a packet must come from; a zero address or port allows any. A zero source is a TCP record:
// its connection was checked when it was accepted.
type expectation struct {
	addr netip.Addr
	// low and high are the first and the last port allowed.
	low, high uint16
	// learn takes the warm-up's address for addr.
	learn bool
}

// seenAs is what packets from e must look like to others.
func seenAs(e Endpoint) expectation { return expectation{addr: e.Source, learn: e.LearnSource} }

func (e expectation) met(src netip.AddrPort) bool {
	if !src.IsValid() {
		return true
	}
	if e.addr.IsValid() && src.Addr() != e.addr {
		return false
	}
	return e.high == 0 || e.low <= src.Port() && src.Port() <= e.high
}

// warmed notes a packet of the warm-up.
func (a *arrivals) warmed(at int64, src netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warm++
	a.lastWarm = at
	if a.want.learn && src.IsValid() {
		a.want.addr = src.Addr()
	}
}

// arrived notes the packet seq that came from src at time at. It reports false for a duplicate.
func (a *arrivals) arrived(seq uint64, at int64, src netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	word, bit := int(seq/64), uint64(1)<<(seq%64)
	for word >= len(a.seen) {
		a.seen = append(a.seen, make([]uint64, max(64, len(a.seen)))...)
	}
	if a.seen[word]&bit != 0 {
		a.duplicates++
		return false
	}
	a.seen[word] |= bit
	a.received++
	if !a.want.met(src) {
		a.wrongSource++
	}
	if a.first == 0 {
		a.first, a.last = at, at
		return true
	}
	// Stamps of two CPUs may come out of order by microseconds.
	if at > a.last {
		a.gap = max(a.gap, at-a.last)
		a.last = at
	}
	return true
}

// longestGap returns the longest time without an arrival while the sender was sending, from firstSent to lastSent.
func (a *arrivals) longestGap(firstSent, lastSent int64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.received == 0 {
		return time.Duration(lastSent - firstSent)
	}
	return time.Duration(max(a.gap, a.first-firstSent, lastSent-a.last))
}

// connected checks where the connection that carries the stream came from; during the warm-up of a stream that learns,
// that is the right source.
func (a *arrivals) connected(src netip.AddrPort, phase int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.want.learn && phase == phaseWarm:
		a.want.addr = src.Addr()
	case !a.want.met(src):
		a.wrongSource++
	}
}

func (a *arrivals) count() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.received
}

// warmState returns how many packets of the warm-up have come and when the last did.
func (a *arrivals) warmState() (n, last int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.warm, a.lastWarm
}

// departures is what the sending end of a stream has done.
type departures struct {
	mu          sync.Mutex
	sent        int64
	refused     int64
	resized     int64
	skipped     int64
	first, last int64
	late        time.Duration
	small, big  int // IP packet bytes
	firstError  string
	warmError   string // last refusal in the warm-up
}

// outcome is what became of one packet handed to the kernel.
type outcome struct {
	resized int
	bytes   int // of UDP payload or record
	err     error
}

// left counts a packet handed to the kernel at time at, late behind its time.
func (d *departures) left(at int64, late time.Duration, o outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent++
	if d.first == 0 {
		d.first = at
	}
	d.last = at
	d.late = max(d.late, late)
	d.resized += int64(o.resized)
	if o.err != nil {
		d.refused++
		d.fail(o.err)
		return
	}
	d.big = max(d.big, o.bytes)
	if d.small == 0 || o.bytes < d.small {
		d.small = o.bytes
	}
}

// fail keeps the first error. The lock is held.
func (d *departures) fail(err error) {
	if d.firstError == "" {
		d.firstError = err.Error()
	}
}

// delayed notes that the thread that sends or reads was late.
func (d *departures) delayed(late time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = max(d.late, late)
}

// failed notes an error that is not about one packet.
func (d *departures) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail(err)
}

// warmed notes how sending a packet of the warm-up ended.
func (d *departures) warmed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.warmError = ""
	if err != nil {
		d.warmError = err.Error()
	}
}

// extend makes the time that counts last until at least at.
func (d *departures) extend(at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = max(d.last, at)
}

func (d *departures) skip(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skipped += n
}

func (d *departures) count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent
}

// stream is one numbered flow of UDP packets or TCP records, seen from both ends.
type stream struct {
	id      uint8
	name    string
	headers int // bytes of IP and UDP header, for packet sizes
	// answers is the stream whose every packet is answered by one of this stream; nil for a stream of its own.
	answers *stream
	out     departures
	in      arrivals
}

// receive notes a packet with header h from src at time at; it reports whether it is a new one of the measurement.
func (s *stream) receive(h header, at int64, src netip.AddrPort) bool {
	if int32(h.phase) == phaseWarm {
		s.in.warmed(at, src)
		return false
	}
	return s.in.arrived(h.seq, at, src)
}

// cold says that nothing arrived on s in the warm-up, and why if the sender knows.
func (s *stream) cold() string {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.warmError != "" {
		return fmt.Sprintf("%s (%s)", s.name, s.out.warmError)
	}
	return s.name
}

// outstanding is how many packets may still arrive.
func (s *stream) outstanding() int64 {
	s.out.mu.Lock()
	sent, refused := s.out.sent, s.out.refused
	s.out.mu.Unlock()
	if s.answers != nil {
		sent = max(sent, s.answers.in.count()) // an answer about to be sent is in flight too
	}
	return sent - refused - s.in.count()
}

// counts is the final tally of a UDP stream whose sockets dropped overflowed packets themselves. max tells whether
// packet sizes are of interest.
func (s *stream) counts(overflowed int64, max bool) Counts {
	s.out.mu.Lock()
	first, last := s.out.first, s.out.last
	c := Counts{
		Sent:       s.out.sent,
		JitterMs:   millis(s.out.late),
		Refused:    s.out.refused,
		Resized:    s.out.resized,
		Skipped:    s.out.skipped,
		FirstError: s.out.firstError,
	}
	if max && s.out.big > 0 {
		c.SmallestPacket, c.LargestPacket = s.out.small+s.headers, s.out.big+s.headers
	}
	s.out.mu.Unlock()
	c.LongestGapMs = millis(s.in.longestGap(first, last))
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	c.WrongSource, c.Duplicates = s.in.wrongSource, s.in.duplicates
	missing := c.Sent - s.in.received
	c.Overflowed = min(overflowed, missing)
	c.Lost = missing - c.Overflowed
	return c
}
