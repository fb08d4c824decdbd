package loss

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Source ports of the new-port stream. Tunnel ports (4789, 6081, 8285, 8472, 51820) are outside, so that a device
	// made during the command finds its port free.
	firstPort = 10000
	portCount = 41000
	// tupleRest is how long a 5-tuple is left alone: longer than conntrack remembers an unanswered UDP packet (30 s).
	tupleRest = 40 * time.Second
	// remeasure is how often the route MTU is read again, to follow it up.
	remeasure = 50 * time.Millisecond
)

// newPortTargets is how many ports a receiver of new-port packets needs so that no 5-tuple is used again within
// tupleRest.
func newPortTargets(rate int) int {
	return 1 + int(tupleRest.Seconds())*rate/portCount
}

// sizer decides how large a packet is. It belongs to one thread, in the sender's namespace.
type sizer struct {
	family family
	dst    netip.AddrPort
	max    bool
	// payload is the size in bytes of the next packet.
	payload int
	checked time.Time
}

// newSizer reads the route MTU when size is SizeMax. It runs in the sender's namespace.
func newSizer(f family, dst netip.AddrPort, size int) (*sizer, error) {
	z := &sizer{family: f, dst: dst, max: size == SizeMax, payload: size}
	if !z.max {
		return z, nil
	}
	z.payload = headerLen
	return z, z.read()
}

// read takes over the route's MTU as it is now.
func (z *sizer) read() error {
	mtu, err := routeMTU(z.family, z.dst)
	if err != nil {
		return err
	}
	z.payload = max(headerLen, min(mtu-z.family.headers, maxPayload))
	return nil
}

// grow follows the route MTU up. Down it goes only when the kernel refuses a packet: a sender that shrank by itself
// would never notice a path that is narrower than its route.
func (z *sizer) grow(now time.Time) {
	if !z.max || now.Sub(z.checked) < remeasure {
		return
	}
	z.checked = now
	was := z.payload
	if err := z.read(); err != nil || z.payload < was {
		z.payload = was // no route at the moment: sending will say so
	}
}

// transmit sends the first size bytes of b by tx. What is refused as too big is sent again at once at the size the
// route has now, as TCP would.
func (z *sizer) transmit(b []byte, size int, tx func([]byte) error) outcome {
	o := outcome{bytes: size}
	for range 4 {
		o.err = tx(b[:o.bytes])
		if !z.max || !errors.Is(o.err, unix.EMSGSIZE) {
			return o
		}
		if err := z.read(); err != nil {
			return o
		}
		o.bytes = min(size, z.payload)
		o.resized++
	}
	return o
}

// outlet sends the packets of one stream.
type outlet struct {
	stream *stream
	tx     func(b []byte) error
	next   [2]uint64 // sequence number by phase: warm-up, measurement
}

// send sends the next packet of the phase; b is scratch space.
func (o *outlet) send(run uint64, phase int32, late time.Duration, z *sizer, b []byte) {
	header{run: run, stream: o.stream.id, phase: uint8(phase), seq: o.next[phase]}.put(b)
	o.next[phase]++
	at := time.Now().UnixNano()
	outcome := z.transmit(b, z.payload, o.tx)
	var own *ownError
	switch {
	case phase != phaseMeasure:
		o.stream.out.warmed(outcome.err)
	case errors.As(outcome.err, &own):
		o.stream.out.skip(1)
		o.stream.out.failed(own)
	default:
		o.stream.out.left(at, late, outcome)
	}
}

// sender paces the outlets of one endpoint on a thread in its namespace.
type sender struct {
	netns   string
	run     uint64
	phase   *atomic.Int32
	period  time.Duration
	sizer   *sizer
	outlets []*outlet
	// idle, when set, runs at every tick in every phase.
	idle func(now time.Time)
	// quiet is closed when the sender has seen that the measurement is over: nothing is counted as sent after that.
	quiet chan struct{}
	buf   [maxPayload]byte
}

// loop sends until the phase is phaseStop. The thread must be locked.
func (s *sender) loop() {
	realtime()
	quiet := false
	pace(s.period, func(late time.Duration, skipped int64) bool {
		now := time.Now()
		switch phase := s.phase.Load(); phase {
		case phaseWarm, phaseMeasure:
			s.sizer.grow(now)
			for _, o := range s.outlets {
				if phase == phaseMeasure && skipped > 0 {
					o.stream.out.skip(skipped)
				}
				o.send(s.run, phase, late, s.sizer, s.buf[:])
			}
		default:
			if !quiet {
				quiet = true
				s.ended(late, skipped)
			}
			if phase == phaseStop {
				return false
			}
		}
		if s.idle != nil {
			s.idle(now)
		}
		return true
	})
}

// ended is the first tick after the measurement. A thread that was kept from running until now shows only here.
func (s *sender) ended(late time.Duration, skipped int64) {
	for _, o := range s.outlets {
		o.stream.out.delayed(late)
		if skipped > 0 {
			o.stream.out.skip(int64(late / s.period)) // nor is the rest caught up
		}
	}
	close(s.quiet)
}

// sendTo sends b on fd. An ICMP error about an earlier packet that the kernel reports instead of sending is passed over
// once; a second one is this packet's own.
func sendTo(fd int, b []byte, to unix.Sockaddr) error {
	send := func() error {
		if to == nil {
			_, err := unix.Write(fd, b) // connected
			return err
		}
		return unix.Sendto(fd, b, 0, to)
	}
	err := send()
	if err != nil && isLateReport(err) {
		err = send()
	}
	return err
}

// connectedTx opens the socket of a long-lived one-way stream: connected, so that source address and cached route are
// those of a real long-lived client.
func connectedTx(f family, to netip.AddrPort, df bool) (fd int, tx func([]byte) error, err error) {
	fd, err = openUDP(f, 0, df)
	if err != nil {
		return -1, nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("set send buffer: %w", err)
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return fd, func(b []byte) error { return sendTo(fd, b, nil) }, nil
}

// portCycle hands out sockets with a new source port each, going round all ports before it goes on to the next target.
type portCycle struct {
	family  family
	df      bool
	targets []netip.AddrPort
	target  int
	offset  int // of the next port
	used    int // ports tried for this target
}

func newPortCycle(f family, df bool, targets []netip.AddrPort) *portCycle {
	return &portCycle{family: f, df: df, targets: targets, offset: rand.IntN(portCount)}
}

// open opens a socket on the next free port and says where to send from it.
func (c *portCycle) open() (int, unix.Sockaddr, error) {
	var err error
	for try := range 16 {
		if c.used >= portCount {
			c.used, c.target = 0, (c.target+1)%len(c.targets)
		}
		port := uint16(firstPort + (c.offset+c.used)%portCount)
		// Another measurement's pool holds thousands of ports in a row: jump ever further.
		c.used += 1 << try
		var fd int
		fd, err = openUDP(c.family, port, c.df)
		if err == nil {
			return fd, sockaddr(c.targets[c.target]), nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return -1, nil, &ownError{err}
}

// ownError is the probe's failing, not the network's: nothing was handed to the kernel.
type ownError struct{ error }

// send sends b from a socket of its own, closed again at once: nothing is answered.
func (c *portCycle) send(b []byte) error {
	fd, to, err := c.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sendTo(fd, b, to)
}
