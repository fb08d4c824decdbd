package loss

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// replyWait is how long a new-port socket stays open for its answer: longer than DrainUDP, so that no answer that
// counts meets a closed port.
const replyWait = DrainUDP + 500*time.Millisecond

// clientPool sends every packet from a new socket and keeps the socket for its answer. It belongs to the sender's
// thread; answers are stamped by the kernel, so reading them a tick late costs no precision.
type clientPool struct {
	run    uint64
	ports  *portCycle
	reply  *stream
	epoll  int
	open   []pooled // oldest first
	buf    receiveBuffer
	events [64]unix.EpollEvent
}

type pooled struct {
	fd      int
	expires time.Time
}

func newClientPool(run uint64, ports *portCycle, reply *stream) (*clientPool, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open epoll: %w", err)
	}
	return &clientPool{run: run, ports: ports, reply: reply, epoll: fd}, nil
}

// checkFiles refuses a rate whose sockets do not fit the limit on open files.
func checkFiles(rate int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit on open files: %w", err)
	}
	if need := uint64(float64(rate)*replyWait.Seconds()) + 500; need > limit.Cur {
		return fmt.Errorf("rate %d: waiting for answers needs %d open files of %d", rate, need, limit.Cur)
	}
	return nil
}

// send sends b from a new socket.
func (p *clientPool) send(b []byte) error {
	fd, to, err := p.ports.open()
	if err != nil {
		return err
	}
	if err := p.register(fd); err != nil {
		unix.Close(fd)
		return &ownError{err}
	}
	if err := sendTo(fd, b, to); err != nil {
		unix.Close(fd)
		return err
	}
	p.open = append(p.open, pooled{fd, time.Now().Add(replyWait)})
	return nil
}

func (p *clientPool) register(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("switch on receive timestamps: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

// poll reads the answers that have come and closes sockets that have waited long enough.
func (p *clientPool) poll(now time.Time) {
	for {
		n, err := unix.EpollWait(p.epoll, p.events[:], 0)
		if err != nil {
			break // EINTR: the next tick reads it
		}
		for _, ev := range p.events[:n] {
			p.read(int(ev.Fd))
		}
		if n < len(p.events) {
			break
		}
	}
	for len(p.open) > 0 && now.After(p.open[0].expires) {
		unix.Close(p.open[0].fd)
		p.open = p.open[1:]
	}
}

func (p *clientPool) read(fd int) {
	for {
		r, ok, err := p.buf.readPacket(fd)
		if err != nil {
			p.reply.out.failed(err)
		}
		if err != nil || !ok {
			return
		}
		if h, ok := parseHeader(r.payload); ok && h.run == p.run && h.stream == p.reply.id {
			p.reply.receive(h, r.at, r.from)
		}
	}
}

// close closes every socket. The sender's thread must have ended.
func (p *clientPool) close() {
	for _, o := range p.open {
		unix.Close(o.fd)
	}
	p.open = nil
	unix.Close(p.epoll)
}
