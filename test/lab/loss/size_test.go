package loss

import (
	"context"
	"testing"
	"time"
)

// settle is long enough for packets of every size, also on a busy machine.
const settle = 300 * time.Millisecond

func TestMaxFollowsTheRouteMTU(t *testing.T) {
	p := newPair(t)
	res := measure(t, Options{From: p.from, To: p.to, Size: SizeMax, During: func(context.Context) error {
		time.Sleep(settle)
		if err := p.a.do("ip route add 10.1.0.2/32 dev eth0 mtu 1400"); err != nil {
			return err
		}
		time.Sleep(settle)
		err := p.a.do("ip route replace 10.1.0.2/32 dev eth0 mtu 1500")
		time.Sleep(settle)
		return err
	}})
	if res.lostBeyond(res.Counts) != 0 {
		t.Errorf("got %d lost, want none: a refused packet is resent at the new size", res.Lost)
	}
	for _, name := range []string{"a->b udp long-lived", "a->b udp new-port"} {
		c := res.mustStream(t, name)
		if c.SmallestPacket != 1400 || c.LargestPacket != 1500 {
			t.Errorf("%s: got packets of %d to %d bytes, want 1400 to 1500", name, c.SmallestPacket, c.LargestPacket)
		}
	}
	// Both streams of a sender share the size, so the first refusal resizes both.
	between(t, "resized", res.Resized, 1, 4)
	if c := res.mustStream(t, "b->a udp long-lived"); c.SmallestPacket != 1500 || c.Resized != 0 {
		t.Errorf("other direction: got %+v, want 1500 throughout", c)
	}
}

func TestMaxGrowsBack(t *testing.T) {
	p := newPair(t)
	p.a.run(t, "ip route add 10.1.0.2/32 dev eth0 mtu 1400")
	res := measure(t, Options{From: p.from, To: p.to, Size: SizeMax, During: func(context.Context) error {
		time.Sleep(settle)
		err := p.a.do("ip route replace 10.1.0.2/32 dev eth0 mtu 1500")
		time.Sleep(settle)
		return err
	}})
	if c := res.mustStream(t, "a->b udp new-port"); c.SmallestPacket != 1400 || c.LargestPacket != 1500 || res.lostBeyond(c) != 0 {
		t.Errorf("got %+v, want 1400 growing to 1500 without loss", c)
	}
}

func TestMaxDoesNotShrinkBeforeItIsTold(t *testing.T) {
	p := newPair(t)
	narrow := func(context.Context) error {
		if err := p.mid.do("ip link set port2 mtu 1400"); err != nil { // a bridge drops without a word
			return err
		}
		time.Sleep(settle)
		return p.mid.do("ip link set port2 mtu 1500")
	}
	res := measure(t, Options{From: p.from, To: p.to, Size: SizeMax, During: narrow})
	for _, name := range []string{"a->b udp long-lived", "a->b udp new-port"} {
		between(t, name+" lost", res.mustStream(t, name).Lost, 100, 3000)
	}
	if res = measure(t, Options{From: p.from, To: p.to, Size: 1000, During: narrow}); res.lostBeyond(res.Counts) != 0 {
		t.Errorf("packets that fit: got %d lost, want none", res.Lost)
	}
}
