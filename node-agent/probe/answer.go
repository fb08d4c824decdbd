package probe

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// serve reads a socket until it is closed.
func (p *Prober) serve(conn *net.UDPConn, got func(conn *net.UDPConn, b []byte, from netip.Addr)) {
	p.readers.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				time.Sleep(time.Millisecond) // an error of the socket is cleared by reading it; a lasting one must not cost a core
			default:
				got(conn, buf[:n], from.Addr().Unmap())
			}
		}
	})
}

// fromPods handles what comes to the reserved address. A request is answered over the path that it names, by the socket of
// that path. The answer goes to the port for probes, as a flow of its own, so nothing lets it pass as a reply.
func (p *Prober) fromPods(_ *net.UDPConn, b []byte, from netip.Addr) {
	p.handle(b, from, func(v *view, name string) (*net.UDPConn, kind) {
		if way, ok := v.paths[name]; ok {
			return way.conn, kindAnswer
		}
		return v.paths[""].conn, kindUnprepared
	})
}

// fromHosts handles what comes to the bridge's own address. The answer takes the node's routes, which are the current path.
func (p *Prober) fromHosts(conn *net.UDPConn, b []byte, from netip.Addr) {
	p.handle(b, from, func(_ *view, name string) (*net.UDPConn, kind) {
		if name == "" {
			return conn, kindAnswer
		}
		return conn, kindUnprepared
	})
}

func (p *Prober) handle(b []byte, from netip.Addr, by func(v *view, name string) (*net.UDPConn, kind)) {
	m, err := parse(b)
	if err != nil {
		return
	}
	if m.kind != kindRequest {
		p.calls.answered(m, from, len(b), time.Now())
		return
	}
	v := p.view.Load()
	if !v.answered[from] || !p.answers.take(time.Now()) {
		return
	}
	conn, k := by(v, m.path)
	if conn == nil {
		return
	}
	answerWith(b, k)
	v.flows.forget(conn, from)
	// One that cannot be sent is one that is lost: the peer finds out.
	_, _ = conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(from, ListenPort))
}
