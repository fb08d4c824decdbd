package loss

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// longLived is one connection that carries a record each way every recordPeriod, opened again when it breaks.
type longLived struct {
	run      uint64
	phase    *atomic.Int32
	route    tcpRoute
	conns    *connSet
	there    *stream // client to server; the connection's breaks count here
	back     *stream
	accepted chan accepted

	next       [2]map[int32]*uint64 // sequence numbers by direction and phase
	mu         sync.Mutex
	broken     int64
	writtenOff [2]int64 // records sent on connections that have broken
	ended      int64    // when the writers stopped, in nanoseconds of the wall clock
}

func newLongLived(run uint64, phase *atomic.Int32, route tcpRoute, conns *connSet, there, back *stream) *longLived {
	l := &longLived{run: run, phase: phase, route: route, conns: conns, there: there, back: back, accepted: make(chan accepted)}
	for i := range l.next {
		l.next[i] = map[int32]*uint64{phaseWarm: new(uint64), phaseMeasure: new(uint64)}
	}
	return l
}

func (l *longLived) streams() [2]*stream { return [2]*stream{l.there, l.back} }

// keep opens the connection and uses it until the probe stops.
func (l *longLived) keep() {
	for n := uint64(0); l.phase.Load() < phaseDrain; n++ {
		client, server, err := l.open(n)
		if err != nil {
			l.there.out.warmed(err)
			time.Sleep(reopenPause)
			continue
		}
		err = l.carry(client, server)
		l.finished(err)
	}
}

// open connects and waits until the server has taken the connection.
func (l *longLived) open(number uint64) (client, server net.Conn, err error) {
	deadline := time.Now().Add(reopenLimit)
	client, err = dial(l.route.netns, l.route.to, deadline)
	if err != nil {
		return nil, nil, err
	}
	if !l.conns.add(client) {
		return nil, nil, net.ErrClosed
	}
	hello := make([]byte, recordLen)
	header{run: l.run, stream: l.there.id, phase: uint8(l.phase.Load()), seq: number}.put(hello)
	if _, err := client.Write(hello); err != nil {
		l.conns.close(client)
		return nil, nil, err
	}
	for time.Now().Before(deadline) && l.phase.Load() != phaseStop {
		select {
		case a := <-l.accepted:
			if a.number == number {
				return client, a.conn, nil
			}
			l.conns.close(a.conn) // given up earlier
		case <-time.After(100 * time.Millisecond):
		}
	}
	l.conns.close(client)
	return nil, nil, errors.New("the server has not seen the connection")
}

// carry sends and receives on an open connection until it breaks or is closed by the end of the probe.
func (l *longLived) carry(client, server net.Conn) error {
	ends := make(chan error, 4)
	var gone atomic.Bool
	var work sync.WaitGroup
	for i, end := range []net.Conn{client, server} {
		raw, err := end.(syscall.Conn).SyscallConn()
		if err != nil {
			return fmt.Errorf("use connection: %w", err)
		}
		out, in := l.streams()[i], l.streams()[1-i]
		w := &recordWriter{run: l.run, phase: l.phase, stream: out, next: l.next[i], raw: raw, gone: &gone}
		work.Add(1)
		go onOwnThread(func() {
			defer work.Done()
			ends <- w.loop()
		})
		work.Go(func() { ends <- readRecords(end, l.run, in) })
	}
	err := <-ends
	gone.Store(true)
	l.conns.close(client)
	l.conns.close(server)
	work.Wait()
	return err
}

// finished counts a connection that has ended, unless the probe ended it.
func (l *longLived) finished(err error) {
	phase := l.phase.Load()
	if phase == phaseStop || phase == phaseWarm {
		return
	}
	l.there.out.failed(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken++
	for i, s := range l.streams() {
		l.writtenOff[i] = s.out.count() - s.in.count()
	}
}

// outstanding is how many records are still to be delivered on the connection that is open.
func (l *longLived) outstanding() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum int64
	for i, s := range l.streams() {
		sum += max(0, s.out.count()-s.in.count()-l.writtenOff[i])
	}
	return sum
}

// drain waits for the records that are on their way. TCP delivers or breaks: what does neither in time is broken.
func (l *longLived) drain(deadline time.Time) {
	time.Sleep(2 * recordPeriod) // the writers see the phase
	l.mu.Lock()
	l.ended = time.Now().UnixNano()
	l.mu.Unlock()
	for l.outstanding() > 0 {
		if time.Now().After(deadline) {
			l.there.out.failed(errNotDelivered)
			l.mu.Lock()
			l.broken++
			l.mu.Unlock()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// counts is the final tally of direction i: 0 from the client, 1 from the server.
func (l *longLived) counts(i int) Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams()[i]
	// A connection that could not be opened again sends nothing, and stalls until the end all the same.
	s.out.extend(l.ended)
	c := s.counts(0, false)
	c.TCPStallMs, c.LongestGapMs = c.LongestGapMs, 0
	if i == 0 {
		c.Broken = l.broken
	}
	return c
}

// recordWriter writes records to one end of a connection, without ever waiting for the peer: a writer that blocks would
// take the network's stall for its own jitter. A record the full send buffer does not take is not sent.
type recordWriter struct {
	run    uint64
	phase  *atomic.Int32
	stream *stream
	next   map[int32]*uint64
	raw    syscall.RawConn
	gone   *atomic.Bool
	rest   []byte // of a record written in part
}

// loop writes until the connection breaks or goes. The thread must be locked.
func (w *recordWriter) loop() error {
	realtime()
	var failure error
	pace(recordPeriod, func(late time.Duration, skipped int64) bool {
		if w.gone.Load() {
			return false
		}
		failure = w.tick(late)
		return failure == nil
	})
	return failure
}

func (w *recordWriter) tick(late time.Duration) error {
	phase := w.phase.Load()
	if len(w.rest) > 0 {
		n, err := w.write(w.rest)
		w.rest = w.rest[n:]
		if err != nil || len(w.rest) > 0 {
			return err
		}
	}
	if phase >= phaseDrain {
		return nil
	}
	record := make([]byte, recordLen)
	header{run: w.run, stream: w.stream.id, phase: uint8(phase), seq: *w.next[phase]}.put(record)
	at := time.Now().UnixNano()
	n, err := w.write(record)
	if err != nil || n == 0 {
		return err
	}
	*w.next[phase]++
	w.rest = record[n:]
	if phase == phaseMeasure {
		w.stream.out.left(at, late, outcome{bytes: recordLen})
	}
	return nil
}

// write writes what the send buffer takes at once.
func (w *recordWriter) write(b []byte) (n int, err error) {
	rawErr := w.raw.Write(func(fd uintptr) bool {
		n, err = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
	switch {
	case rawErr != nil:
		return 0, rawErr
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("write record: %w", err)
	}
	return n, nil
}

// readRecords notes records as they arrive until the connection ends.
func readRecords(conn net.Conn, run uint64, s *stream) error {
	buf := make([]byte, 64<<10)
	held := 0
	for {
		n, err := conn.Read(buf[held:])
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("closed by the peer")
			}
			return fmt.Errorf("read record: %w", err)
		}
		at := time.Now().UnixNano()
		held += n
		done := 0
		for ; held-done >= recordLen; done += recordLen {
			h, ok := parseHeader(buf[done:])
			if !ok || h.run != run || h.stream != s.id {
				return errors.New("read record: the stream is garbled")
			}
			s.receive(h, at, netip.AddrPort{})
		}
		held = copy(buf, buf[done:held])
	}
}
