package loss

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// inlet is one receiving socket of a stream.
type inlet struct {
	fd     int
	stream *stream
	// reply, when set, is the stream of answers: every new packet is answered from the same socket.
	reply *stream
}

// receiver reads the sockets of one endpoint on a thread in its namespace.
type receiver struct {
	netns  string
	run    uint64
	phase  *atomic.Int32
	inlets []inlet
	sizer  *sizer // of the answers; nil when nothing is answered
	buf    receiveBuffer
}

// readPause is the time between two looks at sockets that only count. The kernel stamps what comes, so nothing is gained
// by waking for every packet.
const readPause = 5 * time.Millisecond

// loop reads until the phase is phaseStop. The thread must be locked.
func (r *receiver) loop() error {
	realtime()
	fds := make([]unix.PollFd, len(r.inlets))
	for i, in := range r.inlets {
		fds[i] = unix.PollFd{Fd: int32(in.fd), Events: unix.POLLIN}
	}
	for r.phase.Load() != phaseStop {
		if r.sizer == nil {
			sleepUntil(time.Now().Add(readPause))
		} else if _, err := unix.Poll(fds, 50); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for packets: %w", err)
		}
		for _, in := range r.inlets {
			if err := r.drain(in); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *receiver) drain(in inlet) error {
	for {
		p, ok, err := r.buf.readPacket(in.fd)
		if err != nil || !ok {
			return err
		}
		h, ok := parseHeader(p.payload)
		if !ok || h.run != r.run || h.stream != in.stream.id {
			continue
		}
		fresh := in.stream.receive(h, p.at, p.from)
		if in.reply != nil && (fresh || int32(h.phase) == phaseWarm) {
			r.answer(in, h, p)
		}
	}
}

// answer sends the packet back to where it came from, as large as it came. How long it waited to be read is the
// answering stream's jitter.
func (r *receiver) answer(in inlet, h header, p received) {
	h.stream = in.reply.id
	h.put(p.payload)
	to := sockaddr(p.from)
	now := time.Now().UnixNano()
	o := r.sizer.transmit(p.payload, len(p.payload), func(b []byte) error { return sendTo(in.fd, b, to) })
	if int32(h.phase) == phaseMeasure {
		in.reply.out.left(now, time.Duration(max(0, now-p.at)), o)
	}
}

// overflowed is how many packets the sockets of stream s dropped because they were not read in time.
func (r *receiver) overflowed(s *stream) (int64, error) {
	var sum int64
	for _, in := range r.inlets {
		if in.stream != s {
			continue
		}
		n, err := dropped(in.fd)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
