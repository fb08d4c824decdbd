package loss

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connEnd is one end of a long-lived connection. One thread writes a record and reads what has come at every tick,
// without ever waiting for the peer: so the thread's own lateness is known, and a stall of the network is not taken for
// it. A record that the full send buffer does not take is not sent.
type connEnd struct {
	run   uint64
	phase *atomic.Int32
	// sending is held for reading from looking at the phase until the record is counted.
	sending *sync.RWMutex
	raw     syscall.RawConn
	gone    *atomic.Bool // the connection has ended
	out     *stream
	in      *stream
	next    map[int32]*uint64 // sequence number by phase

	rest    []byte // of a record written in part
	buf     [64 << 10]byte
	control [64]byte
	held    int // bytes in buf of a record read in part
}

// loop writes and reads until the connection breaks or is gone. The thread must be locked.
func (e *connEnd) loop() error {
	realtime()
	if err := e.stampArrivals(); err != nil {
		return err
	}
	var failure error
	pace(recordPeriod, func(late time.Duration, _ int64) bool {
		if e.gone.Load() {
			return false
		}
		if e.phase.Load() != phaseWarm { // a stall is measured until all has arrived
			e.in.out.delayed(late)
		}
		if failure = e.read(); failure == nil {
			failure = e.write(late)
		}
		return failure == nil
	})
	return failure
}

func (e *connEnd) stampArrivals() error {
	var err error
	if rawErr := e.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}); rawErr != nil {
		return rawErr
	}
	if err != nil {
		return fmt.Errorf("switch on receive timestamps: %w", err)
	}
	return nil
}

// write sends the next record, if it is time for records.
func (e *connEnd) write(late time.Duration) error {
	e.sending.RLock()
	defer e.sending.RUnlock()
	phase := e.phase.Load()
	if len(e.rest) > 0 {
		n, err := e.send(e.rest)
		e.rest = e.rest[n:]
		if err != nil || len(e.rest) > 0 {
			return err
		}
	}
	if phase >= phaseDrain {
		return nil
	}
	record := make([]byte, recordLen)
	header{run: e.run, stream: e.out.id, phase: uint8(phase), seq: *e.next[phase]}.put(record)
	at := time.Now().UnixNano()
	n, err := e.send(record)
	if err != nil || n == 0 {
		return err
	}
	*e.next[phase]++
	e.rest = record[n:]
	if phase == phaseMeasure {
		e.out.out.left(at, late, outcome{bytes: recordLen})
	}
	return nil
}

// send writes what the send buffer takes at once.
func (e *connEnd) send(b []byte) (n int, err error) {
	rawErr := e.raw.Write(func(fd uintptr) bool {
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

// read notes the records that have come.
func (e *connEnd) read() error {
	for {
		n, at, err := e.receive()
		if err != nil || n == 0 {
			return err
		}
		e.held += n
		done := 0
		for ; e.held-done >= recordLen; done += recordLen {
			h, ok := parseHeader(e.buf[done:])
			if !ok || h.run != e.run || h.stream != e.in.id {
				return errors.New("read record: the stream is garbled")
			}
			e.in.receive(h, at, netip.AddrPort{})
		}
		e.held = copy(e.buf[:], e.buf[done:e.held])
	}
}

// receive reads what has come; n is 0 when there is nothing. at is when the newest of it came.
func (e *connEnd) receive() (n int, at int64, err error) {
	rawErr := e.raw.Read(func(fd uintptr) bool {
		var cn int
		n, cn, _, _, err = unix.Recvmsg(int(fd), e.buf[e.held:], e.control[:], unix.MSG_DONTWAIT)
		at = stamp(e.control[:max(0, cn)])
		return true
	})
	switch {
	case rawErr != nil:
		return 0, 0, rawErr
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, 0, nil
	case err != nil:
		return 0, 0, fmt.Errorf("read record: %w", err)
	case n == 0:
		return 0, 0, errors.New("closed by the peer")
	}
	if at == 0 {
		at = time.Now().UnixNano()
	}
	return n, at, nil
}
