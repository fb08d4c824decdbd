package loss

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	right = netip.MustParseAddrPort("10.0.0.1:1000")
	wrong = netip.MustParseAddrPort("10.0.0.2:1000")
)

func TestExpectation(t *testing.T) {
	cases := map[string]struct {
		want expectation
		src  netip.AddrPort
		met  bool
	}{
		"address":        {expectation{addr: right.Addr()}, right, true},
		"other address":  {expectation{addr: right.Addr()}, wrong, false},
		"port":           {expectation{addr: right.Addr(), low: 1000, high: 1000}, right, true},
		"port below":     {expectation{addr: right.Addr(), low: 1001, high: 1002}, right, false},
		"port above":     {expectation{addr: right.Addr(), low: 998, high: 999}, right, false},
		"anything":       {expectation{}, wrong, true},
		"record on conn": {expectation{addr: right.Addr()}, netip.AddrPort{}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.want.met(c.src); got != c.met {
				t.Errorf("got %v, want %v", got, c.met)
			}
		})
	}
}

func TestStreamCounts(t *testing.T) {
	const ms = int64(time.Millisecond)
	s := &stream{headers: 28}
	s.in.want = expectation{addr: right.Addr()}
	s.receive(header{phase: uint8(phaseWarm), seq: 9}, 1, wrong) // the warm-up does not count
	for i := range int64(10) {
		s.out.left(100*ms+i*ms, time.Duration(i)*time.Microsecond, outcome{bytes: 64})
	}
	arrived := func(seq uint64, at int64, src netip.AddrPort) {
		s.receive(header{phase: uint8(phaseMeasure), seq: seq}, at*ms, src)
	}
	arrived(0, 101, right)
	arrived(2, 103, right)
	arrived(1, 102, right) // out of order: arrived, and no gap
	arrived(1, 104, right) // twice
	arrived(6, 107, wrong)
	got := s.counts(0, false)
	want := Counts{Sent: 10, Lost: 6, WrongSource: 1, Duplicates: 1, LongestGapMs: 4, JitterMs: 0.009}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got := s.outstanding(); got != 6 {
		t.Errorf("outstanding: got %d, want 6", got)
	}
	if got := s.counts(4, true); got.Lost != 2 || got.Overflowed != 4 || got.LargestPacket != 92 {
		t.Errorf("with overflow: got %+v, want 4 overflowed and not lost", got)
	}
	if got := s.counts(100, false); got.Lost != 0 || got.Overflowed != 6 {
		t.Errorf("with drops of others' packets: got %+v, want no negative loss", got)
	}
}

func TestGapAtTheEnds(t *testing.T) {
	const ms = int64(time.Millisecond)
	cases := map[string]struct {
		arrivals []int64 // in ms; packets are sent from 100 to 200
		want     float64
	}{
		"none":      {nil, 100},
		"late":      {[]int64{170, 199}, 70},
		"early end": {[]int64{101, 130}, 70},
		"middle":    {[]int64{101, 150, 199}, 49},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := &stream{}
			s.out.left(100*ms, 0, outcome{})
			s.out.left(200*ms, 0, outcome{})
			for i, at := range c.arrivals {
				s.in.arrived(uint64(i), at*ms, right)
			}
			if got := s.counts(0, false).LongestGapMs; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAnswerAboutToBeSentIsOutstanding(t *testing.T) {
	request, answer := &stream{}, &stream{}
	answer.answers = request
	request.in.arrived(0, 1, right)
	if got := answer.outstanding(); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	answer.out.left(2, 0, outcome{})
	answer.in.arrived(0, 3, right)
	if got := answer.outstanding(); got != 0 {
		t.Errorf("after it arrived: got %d, want 0", got)
	}
}

func TestTotals(t *testing.T) {
	udp := []Stream{
		{"u1", Counts{Sent: 10, Lost: 1, LongestGapMs: 5, JitterMs: 1, SmallestPacket: 1450, LargestPacket: 1500}},
		{"u2", Counts{Sent: 20, Lost: 2, WrongSource: 3, Resized: 1, SmallestPacket: 1400, LargestPacket: 1450}},
	}
	tcp := []Stream{
		{"t1", Counts{Sent: 99, Lost: 7, Broken: 1, TCPStallMs: 30, FirstError: "reset"}},
		{"t2", Counts{Sent: 5, Lost: 2, Broken: 2, TCPStallMs: 20, JitterMs: 2}},
	}
	want := Counts{
		Sent: 30, Lost: 3, WrongSource: 3, Broken: 3, LongestGapMs: 5, TCPStallMs: 30, JitterMs: 2,
		Resized: 1, SmallestPacket: 1400, LargestPacket: 1500, FirstError: "reset",
	}
	if diff := cmp.Diff(want, totals(udp, tcp)); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

func TestGiveUp(t *testing.T) {
	cases := map[string]struct {
		late, period time.Duration
		want         int64
	}{
		"on time":     {0, time.Millisecond, 0},
		"catches up":  {100 * time.Millisecond, time.Millisecond, 0},
		"gives up":    {350 * time.Millisecond, time.Millisecond, 250},
		"slow stream": {350 * time.Millisecond, time.Second, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := giveUp(c.late, c.period); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestPaceKeepsTheRateWhenLate(t *testing.T) {
	start := time.Now()
	var ticks int64
	var worst time.Duration
	pace(time.Millisecond, func(late time.Duration, skipped int64) bool {
		ticks += 1 + skipped
		worst = max(worst, late)
		if ticks == 10 {
			time.Sleep(30 * time.Millisecond)
		}
		return ticks < 60
	})
	took := time.Since(start)
	if want := time.Duration(ticks) * time.Millisecond; took < want || took > want+200*time.Millisecond {
		t.Errorf("%d ticks took %s, want about %s: the pause is caught up", ticks, took, want)
	}
	if worst < 25*time.Millisecond {
		t.Errorf("lateness: got %s, want about 29ms", worst)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	want := header{run: 1 << 63, stream: 7, phase: uint8(phaseMeasure), seq: 1<<40 + 3}
	b := make([]byte, headerLen)
	want.put(b)
	got, ok := parseHeader(b)
	if !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
	if _, ok := parseHeader(b[:headerLen-1]); ok {
		t.Error("a short packet is taken for a probe packet")
	}
	b[0]++
	if _, ok := parseHeader(b); ok {
		t.Error("a foreign packet is taken for a probe packet")
	}
}
