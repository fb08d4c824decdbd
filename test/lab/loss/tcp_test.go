package loss

import (
	"context"
	"strings"
	"testing"
	"time"
)

const longTCP, newTCP = "a->b tcp long-lived", "a->b tcp new"

func TestStallShowsAndBreaksNothing(t *testing.T) {
	p := newPair(t)
	var least time.Duration
	res := measure(t, Options{From: p.from, To: p.to, TCP: true, During: func(context.Context) (err error) {
		time.Sleep(100 * time.Millisecond)
		least, _, err = p.cut(500 * time.Millisecond)
		return err // records are still on their way: the probe waits for them
	}})
	if res.Broken != 0 {
		t.Errorf("got %d broken connections, want none: %s", res.Broken, res.FirstError)
	}
	ms := float64(least.Milliseconds())
	for _, name := range []string{longTCP, "b->a tcp long-lived"} {
		c := res.mustStream(t, name)
		between(t, name+" stall", c.TCPStallMs, ms, ms+3000)
		if c.Lost != 0 {
			t.Errorf("%s: got %d records lost, want none", name, c.Lost)
		}
	}
	// A SYN in the cut is sent again after 1 s.
	between(t, "slowest new connection", res.mustStream(t, newTCP).TCPStallMs, 900, 5000)
}

func TestResetIsBroken(t *testing.T) {
	p := newPair(t)
	p.b.run(t, "nft table ip t { chain c { type filter hook input priority 0; }; }")
	res := measure(t, Options{From: p.from, To: p.to, TCP: true, During: func(context.Context) error {
		time.Sleep(100 * time.Millisecond)
		if err := p.b.do("nft add rule ip t c ip saddr 10.1.0.1 tcp flags & (fin|rst) == 0 reject with tcp reset"); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
		err := p.b.do("nft flush chain ip t c")
		time.Sleep(500 * time.Millisecond)
		return err
	}})
	long, fresh := res.mustStream(t, longTCP), res.mustStream(t, newTCP)
	if long.Broken != 1 || !strings.Contains(long.FirstError, "reset") {
		t.Errorf("long-lived: got %d broken (%q), want 1 by a reset", long.Broken, long.FirstError)
	}
	between(t, "new connections broken", fresh.Broken, 1, 40)
	if fresh.Lost != fresh.Broken || !strings.Contains(fresh.FirstError, "connection re") { // refused; one on its way: reset
		t.Errorf("new: got %+v, want lost = broken by refusal or reset", fresh)
	}
	if res.Broken < long.Broken+fresh.Broken {
		t.Errorf("total broken: got %d, want at least %d", res.Broken, long.Broken+fresh.Broken)
	}
	// Opened again after the rule went: records flow until the end.
	between(t, "records", long.Sent, 100, 3000)
	between(t, "stall", long.TCPStallMs, 250, 3000)
	if res.lostBeyond(res.Counts) != 0 {
		t.Errorf("udp: got %d lost, want none", res.Lost)
	}
}

func TestConnectionThatNeverRecoversIsBroken(t *testing.T) {
	p := newPair(t)
	p.b.run(t, "nft table ip t { chain c { type filter hook input priority 0; }; }")
	start := time.Now()
	res := measure(t, Options{From: p.from, To: p.to, TCP: true, During: func(context.Context) error {
		time.Sleep(100 * time.Millisecond)
		err := p.b.do("nft add rule ip t c meta l4proto tcp drop")
		time.Sleep(200 * time.Millisecond)
		return err
	}})
	between(t, "seconds", time.Since(start).Seconds(), DrainTCP.Seconds(), DrainTCP.Seconds()+8)
	long, fresh := res.mustStream(t, longTCP), res.mustStream(t, newTCP)
	if long.Broken != 1 || long.Lost == 0 || !strings.Contains(long.FirstError, "not delivered") {
		t.Errorf("long-lived: got %+v, want 1 broken with records lost", long)
	}
	between(t, "stall", long.TCPStallMs, 9000, 15000)
	if fresh.Broken == 0 {
		t.Errorf("new: got %+v, want some broken", fresh)
	}
}
