package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// calls are the probes that are waiting for their answers.
type calls struct {
	mu   sync.Mutex
	open map[nonce]call // guarded by mu
}

// call is a probe that was sent. Only an answer that fits in every respect is one.
type call struct {
	to   netip.Addr
	path string
	size int // of the message, in bytes
	sent time.Time
	got  chan<- reply // has room for every answer
}

// reply is the answer to a probe.
type reply struct {
	unprepared bool
	rtt        time.Duration
}

func (c *calls) add(n nonce, one call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[n] = one
}

func (c *calls) forget(sent []nonce) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range sent {
		delete(c.open, n)
	}
}

// answered hands an answer to who waits for it. Any other one is dropped, and changes nothing for the right one.
func (c *calls) answered(m message, from netip.Addr, size int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.open[m.nonce]
	if !ok || one.to != from || one.path != m.path || one.size != size {
		return
	}
	delete(c.open, m.nonce)
	one.got <- reply{unprepared: m.kind == kindUnprepared, rtt: now.Sub(one.sent)}
}

// question is one exchange with a peer.
type question struct {
	by    *net.UDPConn // chooses the path there
	ping  *net.IPConn  // sends an ICMP echo request instead
	path  string       // chooses the path back
	to    netip.Addr
	size  int // of the IP packet, in bytes
	tries int // 0 for as many as usual
}

func (q question) send(b []byte) error {
	if q.ping != nil {
		return sendEcho(q.ping, b, q.to)
	}
	_, err := q.by.WriteToUDPAddrPort(b, netip.AddrPortFrom(q.to, ListenPort))
	return err
}

// Ask asks a peer over a path: a small packet, and when that comes back a large one, each with some tries. It takes a second
// at most, and a round trip or two when all is well. A path that does not exist here answers nothing.
func (p *Prober) Ask(ctx context.Context, path string, t Target) Answer {
	way, ok := p.view.Load().paths[path]
	if !ok || !t.Pod.IsValid() {
		return Answer{}
	}
	q := question{by: way.conn, path: path, to: t.Pod, size: smallSize + overhead(t.Pod)}
	small, ok := p.exchange(ctx, q)
	if !ok {
		return Answer{}
	}
	if small.unprepared {
		return Answer{Unprepared: true}
	}
	q.size = max(q.size, way.MTU)
	large, ok := p.exchange(ctx, q)
	return Answer{OK: ok && !large.unprepared, Small: true, RTT: small.rtt}
}

// exchange sends a request, as a new flow, until an answer comes, a few times at most. Every try has a nonce of its own; an
// answer that is late counts while the question lasts.
func (p *Prober) exchange(ctx context.Context, q question) (reply, bool) {
	if q.by == nil && q.ping == nil || !q.to.IsValid() {
		return reply{}, false
	}
	if q.tries == 0 {
		q.tries = p.tries
	}
	if q.by != nil {
		p.view.Load().flows.forget(q.by, q.to)
	}
	got := make(chan reply, q.tries)
	var sent []nonce
	defer func() { p.calls.forget(sent) }()
	buf := make([]byte, q.size-overhead(q.to))
	timer := time.NewTimer(p.timeout)
	defer timer.Stop()
	for range q.tries {
		m := message{kind: kindRequest, nonce: newNonce(), path: q.path}
		m.put(buf)
		sent = append(sent, m.nonce)
		p.calls.add(m.nonce, call{to: q.to, path: q.path, size: len(buf), sent: time.Now(), got: got})
		err := q.send(buf)
		if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, net.ErrClosed) {
			return reply{}, false // no try will do better
		}
		timer.Reset(p.timeout)
		select {
		case r := <-got:
			return r, true
		case <-timer.C:
		case <-ctx.Done():
			return reply{}, false
		case <-p.closed:
			return reply{}, false
		}
	}
	return reply{}, false
}
