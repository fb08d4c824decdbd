package loss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// probe is one measurement: its sockets, threads and streams.
type probe struct {
	o      Options
	run    uint64
	family family
	phase  atomic.Int32

	udp       []*stream
	senders   []*sender
	receivers []*receiver
	files     []int
	pool      *clientPool
	nodePorts *nodePorts
	tcp       *tcpProbe
	ids       uint8 // streams made so far

	threads sync.WaitGroup
	mu      sync.Mutex
	failure error // of a thread
}

// open makes everything one measurement needs. What was made is closed by close, also after an error.
func open(ctx context.Context, o Options) (*probe, error) {
	p := &probe{o: o, run: rand.Uint64(), family: familyOf(o.To.Addr)}
	var err error
	if o.NodePort != nil {
		err = p.openNodePort(ctx, o.NodePort)
	} else {
		err = p.openPair()
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *probe) df() bool { return p.o.Size == SizeMax }

// newStream makes a stream between two places. source is where the receiver must see it come from.
func (p *probe) newStream(from, to, kind string, source expectation) *stream {
	p.ids++
	s := &stream{id: p.ids, name: fmt.Sprintf("%s->%s %s", from, to, kind), headers: p.family.headers}
	s.in.want = source
	return s
}

func (p *probe) newUDPStream(from, to, kind string, source expectation) *stream {
	s := p.newStream(from, to, kind, source)
	p.udp = append(p.udp, s)
	return s
}

// targets are the ports of a receiver: one for the long-lived stream, some for the new-port stream.
type targets struct {
	long  netip.AddrPort
	fresh []netip.AddrPort
}

// openReceiver opens the sockets of an endpoint that long and fresh arrive at. The replies are nil where nothing is
// answered.
func (p *probe) openReceiver(at Endpoint, long, fresh, longReply, freshReply *stream) (*receiver, targets, error) {
	r := &receiver{netns: at.NetNS, run: p.run, phase: &p.phase}
	var t targets
	err := inNetNS(at.NetNS, func() error {
		for i := range 1 + newPortTargets(p.o.Rate) {
			fd, port, err := openReceiver(p.family, p.df(), socketBuffer)
			if err != nil {
				return err
			}
			p.files = append(p.files, fd)
			to := netip.AddrPortFrom(at.Addr, port)
			if i == 0 {
				t.long = to
				r.inlets = append(r.inlets, inlet{fd, long, longReply})
				continue
			}
			t.fresh = append(t.fresh, to)
			r.inlets = append(r.inlets, inlet{fd, fresh, freshReply})
		}
		return nil
	})
	if err != nil {
		return nil, targets{}, fmt.Errorf("open receiver at %s: %w", at.Name, err)
	}
	p.receivers = append(p.receivers, r)
	return r, t, nil
}

// addSender registers a sender at an endpoint.
func (p *probe) addSender(at Endpoint, z *sizer, outlets ...*outlet) *sender {
	s := &sender{
		netns: at.NetNS, run: p.run, phase: &p.phase, period: time.Second / time.Duration(p.o.Rate),
		sizer: z, outlets: outlets, quiet: make(chan struct{}),
	}
	p.senders = append(p.senders, s)
	return s
}

// openPair sets up one-way streams in both directions.
func (p *probe) openPair() error {
	ends := [2]Endpoint{p.o.From, p.o.To}
	for i, from := range ends {
		to := ends[1-i]
		long := p.newUDPStream(from.Name, to.Name, "udp long-lived", seenAs(from))
		fresh := p.newUDPStream(from.Name, to.Name, "udp new-port", seenAs(from))
		_, t, err := p.openReceiver(to, long, fresh, nil, nil)
		if err != nil {
			return err
		}
		if err := p.openOneWay(from, long, fresh, t); err != nil {
			return err
		}
	}
	if !p.o.TCP {
		return nil
	}
	return p.openTCPPair()
}

func (p *probe) openOneWay(from Endpoint, long, fresh *stream, t targets) error {
	var z *sizer
	var tx func([]byte) error
	err := inNetNS(from.NetNS, func() error {
		var fd int
		var err error
		if fd, tx, err = connectedTx(p.family, t.long, p.df()); err != nil {
			return err
		}
		p.files = append(p.files, fd)
		z, err = newSizer(p.family, t.long, p.o.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("open sender at %s: %w", from.Name, err)
	}
	p.addSender(from, z, &outlet{stream: long, tx: tx},
		&outlet{stream: fresh, tx: newPortCycle(p.family, p.df(), t.fresh).send})
	return nil
}

// openTCPPair sets up a connection from From to To and new connections both ways.
func (p *probe) openTCPPair() error {
	from, to := p.o.From, p.o.To
	p.tcp = &tcpProbe{run: p.run, phase: &p.phase}
	atTo, portTo, err := p.openAcceptor(to)
	if err != nil {
		return err
	}
	atFrom, portFrom, err := p.openAcceptor(from)
	if err != nil {
		return err
	}
	there := tcpRoute{from.NetNS, netip.AddrPortFrom(to.Addr, portTo)}
	p.addLong(from.Name, to.Name, there, atTo, seenAs(from))
	p.addFresh(from.Name, to.Name, there, atTo, seenAs(from))
	p.addFresh(to.Name, from.Name, tcpRoute{to.NetNS, netip.AddrPortFrom(from.Addr, portFrom)}, atFrom, seenAs(to))
	return nil
}

// openAcceptor listens at an endpoint.
func (p *probe) openAcceptor(at Endpoint) (*acceptor, uint16, error) {
	l, err := listen(at.NetNS, p.family)
	if err != nil {
		return nil, 0, fmt.Errorf("open tcp at %s: %w", at.Name, err)
	}
	a := &acceptor{run: p.run, listener: l, conns: &p.tcp.conns}
	p.tcp.acceptors = append(p.tcp.acceptors, a)
	return a, uint16(l.Addr().(*net.TCPAddr).Port), nil
}

// addLong adds the long-lived connection. Records coming back on it have no source to be checked.
func (p *probe) addLong(from, to string, route tcpRoute, at *acceptor, source expectation) {
	there := p.newStream(from, to, "tcp long-lived", source)
	back := p.newStream(to, from, "tcp long-lived", expectation{})
	p.tcp.long = newLongLived(p.tcp, route, there, back)
	at.long, at.handOver = there, p.tcp.long.accepted
}

// addFresh adds a stream of new connections.
func (p *probe) addFresh(from, to string, route tcpRoute, at *acceptor, source expectation) {
	s := p.newStream(from, to, "tcp new", source)
	at.fresh = s
	p.tcp.fresh = append(p.tcp.fresh, &freshStream{run: p.run, phase: &p.phase, sending: &p.tcp.sending, route: route, conns: &p.tcp.conns, stream: s})
}

// start starts the threads, in the warm-up phase.
func (p *probe) start() {
	for _, r := range p.receivers {
		p.thread(r.netns, r.loop)
	}
	for _, s := range p.senders {
		p.thread(s.netns, func() error {
			s.loop()
			return nil
		})
	}
	if p.tcp != nil {
		p.tcp.start()
	}
}

func (p *probe) thread(netns string, fn func() error) {
	p.threads.Go(func() {
		if err := inNetNS(netns, fn); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.failure = errors.Join(p.failure, err)
		}
	})
}

func (p *probe) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// stop ends the threads and connections. Counts are final after it.
func (p *probe) stop() {
	p.phase.Store(phaseStop)
	p.threads.Wait()
	if p.tcp != nil {
		p.tcp.close()
	}
}

// close stops the probe and gives back its sockets and the NodePort's rules. It may be called twice.
func (p *probe) close() error {
	p.stop()
	for _, fd := range p.files {
		unix.Close(fd)
	}
	p.files = nil
	if p.pool != nil {
		p.pool.close()
		p.pool = nil
	}
	if p.nodePorts == nil {
		return nil
	}
	np := p.nodePorts
	p.nodePorts = nil
	return np.remove()
}
