package loss

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// longLived is one connection that carries a record each way every recordPeriod, opened again when it breaks.
type longLived struct {
	run      uint64
	phase    *atomic.Int32
	sending  *sync.RWMutex
	route    tcpRoute
	conns    *connSet
	there    *stream // client to server; the connection's breaks count here
	back     *stream
	accepted chan accepted

	next       [2]map[int32]*uint64 // sequence numbers by direction and phase
	mu         sync.Mutex
	broken     int64
	writtenOff [2]int64 // records sent on connections that have broken
	ended      [2]int64 // until when records were waited for, in nanoseconds of the wall clock
}

func newLongLived(t *tcpProbe, route tcpRoute, there, back *stream) *longLived {
	l := &longLived{
		run: t.run, phase: t.phase, sending: &t.sending, route: route, conns: &t.conns,
		there: there, back: back, accepted: make(chan accepted),
	}
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
	defer l.conns.close(client)
	defer l.conns.close(server)
	var gone atomic.Bool
	var ends [2]*connEnd
	for i, conn := range []net.Conn{client, server} {
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			return fmt.Errorf("use connection: %w", err)
		}
		ends[i] = &connEnd{
			run: l.run, phase: l.phase, sending: l.sending, raw: raw, gone: &gone,
			out: l.streams()[i], in: l.streams()[1-i], next: l.next[i],
		}
	}
	ended := make(chan error, len(ends))
	for _, e := range ends {
		go onOwnThread(func() { ended <- e.loop() })
	}
	err := <-ended
	gone.Store(true)
	<-ended // within a tick
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

// undelivered is how many records of direction i are still to arrive on the connection that is open. The lock is held.
func (l *longLived) undelivered(i int) int64 {
	s := l.streams()[i]
	return max(0, s.out.count()-s.in.count()-l.writtenOff[i])
}

// await notes the time and reports whether everything has been delivered.
func (l *longLived) await() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delivered := true
	now := time.Now().UnixNano()
	for i := range l.ended {
		if waits := l.undelivered(i) > 0; waits || l.ended[i] == 0 {
			l.ended[i] = now
			delivered = delivered && !waits
		}
	}
	return delivered
}

// drain waits for the records that are on their way. TCP delivers or breaks: what does neither in time is broken.
func (l *longLived) drain(deadline time.Time) {
	for !l.await() {
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
	s.out.extend(l.ended[i])
	c := s.counts(0, false)
	c.TCPStallMs, c.LongestGapMs = c.LongestGapMs, 0
	if i == 0 {
		c.Broken = l.broken
	}
	return c
}
