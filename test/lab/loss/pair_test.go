package loss

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCleanLinkLosesNothing(t *testing.T) {
	cases := map[string]struct{ from, to string }{
		"ipv4": {"10.1.0.1", "10.1.0.2"},
		"ipv6": {"fd00::1", "fd00::2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.from.Addr, p.to.Addr = netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
			res := measure(t, Options{From: p.from, To: p.to, TCP: true, During: sleeping(time.Second)})
			if res.lostBeyond(res.Counts) != 0 || res.WrongSource != 0 || res.Broken != 0 || res.Refused != 0 || res.Duplicates != 0 {
				t.Errorf("got losses on a clean link: %+v", res.Counts)
			}
			if len(res.Streams) != 8 {
				t.Errorf("got %d streams, want 4 udp and 4 tcp", len(res.Streams))
			}
			var sent int64
			for _, s := range res.Streams[:4] {
				res.atRate(t, s.Name, 1000)
				sent += s.Sent
			}
			if res.Sent != sent {
				t.Errorf("total sent: got %d, want the sum of the udp streams, %d", res.Sent, sent)
			}
			between(t, "tcp records", res.mustStream(t, "b->a tcp long-lived").Sent, 500, 2000)
			between(t, "tcp connections", res.mustStream(t, "b->a tcp new").Sent, 5, 40)
			for _, s := range res.Streams {
				// What is longer than a period is the probe's own lateness; the kernel of a busy machine adds to it.
				between(t, s.Name+" gap", s.LongestGapMs, 0, s.JitterMs+100)
				if res.MachineDropped == 0 { // else TCP may have had to send again
					between(t, s.Name+" stall", s.TCPStallMs, 0, 3*res.JitterMs+500)
				}
			}
		})
	}
}

func TestCutLinkShowsAsLost(t *testing.T) {
	p := newPair(t)
	var least, most time.Duration
	res := measure(t, Options{From: p.from, To: p.to, During: func(context.Context) (err error) {
		time.Sleep(200 * time.Millisecond)
		least, most, err = p.cut(50 * time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		return err
	}})
	t.Logf("cut for %s to %s", least, most)
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	for _, s := range res.Streams {
		// A packet each ms, so the cut's length in ms; catching up after a pause shifts that by the jitter.
		slack := int64(s.JitterMs) + 5
		between(t, s.Name+" lost", s.Lost, ms(least)-slack, ms(most)+slack+res.MachineDropped)
		between(t, s.Name+" gap", s.LongestGapMs, float64(ms(least)), float64(ms(most)+slack+5))
	}
}

func TestWrongSourceIsSeen(t *testing.T) {
	p := newPair(t)
	p.a.run(t, "ip addr add 10.1.0.77/24 dev eth0")
	res := measure(t, Options{From: p.from, To: p.to, TCP: true, During: func(context.Context) error {
		err := p.a.do("nft table ip t { chain c { type nat hook postrouting priority srcnat; ip daddr 10.1.0.2 snat to 10.1.0.77; }; }")
		time.Sleep(300 * time.Millisecond)
		return err
	}})
	for name, want := range map[string]bool{
		"a->b udp new-port": true, "a->b tcp new": true, "b->a udp new-port": false, "b->a udp long-lived": false, "b->a tcp new": false,
	} {
		if got := res.mustStream(t, name).WrongSource > 0; got != want {
			t.Errorf("%s: wrong source seen: got %v, want %v", name, got, want)
		}
	}
	if res.lostBeyond(res.Counts) != 0 {
		t.Errorf("a wrong source is not a loss: got %d lost", res.Lost)
	}
}

func TestLearnedSourceMustStay(t *testing.T) {
	p := newPair(t)
	p.a.run(t, "ip addr add 10.1.0.77/24 dev eth0", "ip route add 10.1.0.2/32 dev eth0 src 10.1.0.77")
	strict := measure(t, Options{From: p.from, To: p.to, TCP: true, During: sleeping(100 * time.Millisecond)})
	if c := strict.mustStream(t, "a->b udp long-lived"); c.WrongSource != c.Sent {
		t.Errorf("source not the address: got %d of %d wrong, want all", c.WrongSource, c.Sent)
	}
	if c := strict.mustStream(t, "a->b tcp long-lived"); c.WrongSource != 1 {
		t.Errorf("connection from another address: got %d wrong, want 1", c.WrongSource)
	}
	p.from.LearnSource = true
	learned := measure(t, Options{From: p.from, To: p.to, TCP: true, During: sleeping(100 * time.Millisecond)})
	if learned.WrongSource != 0 {
		t.Errorf("learned source: got %d wrong, want none", learned.WrongSource)
	}
	moved := measure(t, Options{From: p.from, To: p.to, During: func(context.Context) error {
		err := p.a.do("ip route replace 10.1.0.2/32 dev eth0 src 10.1.0.1")
		time.Sleep(100 * time.Millisecond)
		return err
	}})
	if moved.mustStream(t, "a->b udp new-port").WrongSource == 0 {
		t.Error("learned source changed during the command: got none wrong")
	}
}

func TestNothingArrivingIsAnError(t *testing.T) {
	p := newPair(t)
	p.mid.run(t, "ip link set port2 nomaster")
	p.b.run(t, "ip route add unreachable 10.1.0.1/32")
	ran := false
	res, err := Run(context.Background(), Options{From: p.from, To: p.to, TCP: true, WarmUp: 500 * time.Millisecond,
		During: func(context.Context) error { ran = true; return nil }})
	if err == nil || res.Streams != nil || ran {
		t.Fatalf("got result %+v, error %v, command run %v; want an error alone", res, err, ran)
	}
	// The unreachable route is found when the stream's socket is connected.
	for _, want := range []string{"open sender at b", "no route to host"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	p.b.run(t, "ip route del unreachable 10.1.0.1/32")
	_, err = Run(context.Background(), Options{From: p.from, To: p.to, TCP: true, WarmUp: 500 * time.Millisecond, During: sleeping(0)})
	if err == nil {
		t.Fatal("no error though nothing can arrive")
	}
	for _, want := range []string{"nothing arrived in 500ms", "a->b udp long-lived", "b->a tcp new"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

func TestRefusedBySenderIsLost(t *testing.T) {
	p := newPair(t)
	res := measure(t, Options{From: p.from, To: p.to, During: func(context.Context) error {
		if err := p.a.do("ip route add unreachable 10.1.0.2/32"); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
		return p.a.do("ip route del unreachable 10.1.0.2/32")
	}})
	for _, name := range []string{"a->b udp long-lived", "a->b udp new-port"} {
		c := res.mustStream(t, name)
		between(t, name+" refused", c.Refused, 100, 3000)
		if c.Lost-c.Refused > res.MachineDropped || !strings.Contains(c.FirstError, "no route to host") {
			t.Errorf("%s: got %d lost, %d refused, error %q", name, c.Lost, c.Refused, c.FirstError)
		}
	}
	if c := res.mustStream(t, "b->a udp new-port"); res.lostBeyond(c) != 0 {
		t.Errorf("other direction: got %d lost, want none", c.Lost)
	}
}

func TestCommandFailureKeepsTheResult(t *testing.T) {
	p := newPair(t)
	boom := errors.New("boom")
	res, err := Run(context.Background(), Options{From: p.from, To: p.to, During: func(context.Context) error {
		time.Sleep(50 * time.Millisecond)
		return boom
	}})
	var ce *CommandError
	if !errors.As(err, &ce) || !errors.Is(err, boom) || ce.ExitCode() != 1 {
		t.Fatalf("got error %v, want a CommandError of boom", err)
	}
	if res.Sent == 0 || len(res.Streams) != 4 {
		t.Errorf("result is missing beside the error: %+v", res)
	}
}

func TestOneNamespaceBothEnds(t *testing.T) {
	p := newPair(t)
	p.a.run(t, "ip addr add 10.1.0.3/24 dev eth0")
	self := p.from
	self.Name = "self"
	res := measure(t, Options{From: p.from, To: self, Size: SizeMax, TCP: true, During: sleeping(100 * time.Millisecond)})
	if res.lostBeyond(res.Counts) != 0 || res.Broken != 0 {
		t.Errorf("to itself: %+v", res.Counts)
	}
}

func TestLowAndHighRate(t *testing.T) {
	p := newPair(t)
	for _, rate := range []int{5, 3000} {
		res := measure(t, Options{From: p.from, To: p.to, Rate: rate, Size: MinSize, During: sleeping(time.Second)})
		if res.lostBeyond(res.Counts) != 0 {
			t.Errorf("rate %d: %d lost", rate, res.Lost)
		}
		for _, s := range res.Streams {
			res.atRate(t, s.Name, float64(rate))
		}
	}
}
