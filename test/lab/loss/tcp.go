package loss

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// recordPeriod is the time between two records of a long-lived connection, each way.
	recordPeriod = time.Millisecond
	// connectPeriod is the time between two new connections.
	connectPeriod = 50 * time.Millisecond
	// reopenPause is the time before a broken long-lived connection is opened again, reopenLimit how long that may take.
	reopenPause = 50 * time.Millisecond
	reopenLimit = 2 * time.Second
)

var errNotDelivered = fmt.Errorf("not delivered within %s", DrainTCP)

// tcpProbe is the TCP part of a measurement: one long-lived connection and streams of new ones.
type tcpProbe struct {
	run   uint64
	phase *atomic.Int32
	// sending is held for reading by whoever looks at the phase and then sends, so that drain can wait for the last.
	sending sync.RWMutex
	// long is the long-lived connection: client to server and back.
	long  *longLived
	fresh []*freshStream

	acceptors []*acceptor
	conns     connSet
	work      sync.WaitGroup
}

// tcpRoute is how a client reaches a server.
type tcpRoute struct {
	netns string
	to    netip.AddrPort
}

// start begins accepting, connecting and sending records.
func (t *tcpProbe) start() {
	for _, a := range t.acceptors {
		t.work.Go(a.loop)
	}
	t.work.Go(t.long.keep)
	for _, f := range t.fresh {
		t.work.Go(f.loop)
	}
}

// warm reports what has not worked yet in the warm-up; empty when everything has.
func (t *tcpProbe) warm() []string {
	var cold []string
	for _, s := range t.long.streams() {
		if n, _ := s.in.warmState(); n == 0 {
			cold = append(cold, s.cold())
		}
	}
	for _, f := range t.fresh {
		if f.warm.Load() == 0 {
			cold = append(cold, f.stream.cold())
		}
	}
	return cold
}

// drain waits until everything sent has been delivered; what takes longer than DrainTCP is broken.
func (t *tcpProbe) drain(deadline time.Time) {
	t.sending.Lock() // what was counted in the measurement is sent now, or in flight
	//lint:ignore SA2001 the lock waits for the sender, it protects nothing here
	t.sending.Unlock()
	t.long.drain(deadline)
	for _, f := range t.fresh {
		f.attempts.Wait() // each has its own deadline, at most DrainTCP after the end
	}
}

// close ends all connections. The phase must be phaseStop.
func (t *tcpProbe) close() {
	for _, a := range t.acceptors {
		a.listener.Close()
	}
	t.conns.closeAll()
	t.work.Wait()
}

// connSet is the open connections, so that all can be closed at the end.
type connSet struct {
	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// add takes c in; when everything is closed already it closes c and reports false.
func (s *connSet) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	if s.open == nil {
		s.open = map[net.Conn]struct{}{}
	}
	s.open[c] = struct{}{}
	return true
}

func (s *connSet) close(c net.Conn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	c.Close()
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.open = nil
}

// acceptor serves the connections to one endpoint. The first record of a connection says which stream it is for: a new
// connection is answered with its own record, a long-lived one is handed over.
type acceptor struct {
	run      uint64
	listener net.Listener
	conns    *connSet
	fresh    *stream
	long     *stream // nil where no long-lived connection arrives
	handOver chan accepted
}

// accepted is a long-lived connection at its server.
type accepted struct {
	number uint64
	conn   net.Conn
}

func (a *acceptor) loop() {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := a.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // the peer gave up between SYN and accept, or no file is free
			continue
		}
		if a.conns.add(conn) {
			serving.Go(func() { a.serve(conn) })
		}
	}
}

func (a *acceptor) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(DrainTCP))
	record := make([]byte, recordLen)
	if _, err := io.ReadFull(conn, record); err != nil {
		a.conns.close(conn)
		return // the client counts it
	}
	h, ok := parseHeader(record)
	src, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	switch {
	case !ok || h.run != a.run:
		a.conns.close(conn)
	case a.long != nil && h.stream == a.long.id:
		a.long.in.connected(src, int32(h.phase))
		_ = conn.SetDeadline(time.Time{})
		select {
		case a.handOver <- accepted{h.seq, conn}:
		case <-time.After(DrainTCP):
			a.conns.close(conn)
		}
	default:
		if phase := int32(h.phase); phase == phaseMeasure || a.fresh.in.want.learn {
			a.fresh.in.connected(src, phase)
		}
		if _, err := conn.Write(record); err == nil {
			_, _ = io.Copy(io.Discard, conn) // the client closes first
		}
		a.conns.close(conn)
	}
}

// freshStream opens a connection every connectPeriod, sends one record and waits for it to come back.
type freshStream struct {
	run     uint64
	phase   *atomic.Int32
	sending *sync.RWMutex
	route   tcpRoute
	conns   *connSet
	stream  *stream

	warm     atomic.Int64 // connections of the warm-up that worked
	attempts sync.WaitGroup
	mu       sync.Mutex
	failed   int64
	slowest  time.Duration
}

func (f *freshStream) loop() {
	tick := time.NewTicker(connectPeriod)
	defer tick.Stop()
	var late time.Duration
	for n := uint64(0); f.begin(n, late); n++ {
		late = time.Since(<-tick.C)
	}
}

// begin starts attempt n; it reports false when the measurement is over.
func (f *freshStream) begin(n uint64, late time.Duration) bool {
	f.sending.RLock()
	defer f.sending.RUnlock()
	phase := f.phase.Load()
	if phase >= phaseDrain {
		return false
	}
	start := time.Now()
	if phase == phaseMeasure {
		f.stream.out.left(start.UnixNano(), late, outcome{})
	}
	f.attempts.Go(func() { f.finish(phase, start, f.attempt(n, phase, start.Add(DrainTCP))) })
	return true
}

// attempt opens connection n and returns when its record has come back.
func (f *freshStream) attempt(n uint64, phase int32, deadline time.Time) error {
	conn, err := dial(f.route.netns, f.route.to, deadline)
	if err != nil {
		return err
	}
	if !f.conns.add(conn) {
		return net.ErrClosed
	}
	defer f.conns.close(conn)
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	record := make([]byte, recordLen)
	header{run: f.run, stream: f.stream.id, phase: uint8(phase), seq: n}.put(record)
	if _, err := conn.Write(record); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, record); err != nil {
		return fmt.Errorf("wait for the answer: %w", err)
	}
	return nil
}

func (f *freshStream) finish(phase int32, start time.Time, err error) {
	if phase == phaseWarm {
		if f.stream.out.warmed(err); err == nil {
			f.warm.Add(1)
		}
		return
	}
	if err != nil {
		f.stream.out.failed(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slowest = max(f.slowest, time.Since(start))
	if err != nil {
		f.failed++
	}
}

// counts is the final tally.
func (f *freshStream) counts() Counts {
	c := f.stream.counts(0, false)
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Lost, c.Broken = f.failed, f.failed
	c.LongestGapMs, c.TCPStallMs = 0, millis(f.slowest)
	return c
}
