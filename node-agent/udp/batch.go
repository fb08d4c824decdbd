package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxSegments is how many datagrams the kernel cuts one message into (UDP_MAX_SEGMENTS before Linux 6.9).
	maxSegments = 64
	// batchSegments is how many datagrams a batch holds, batchHeaders room for those of their headers that are made here.
	batchSegments = 256
	batchHeaders  = 48 << 10
	maxHeader     = 60 + 60
	// maxMessage is the largest payload of a UDP packet over IPv4; a little more fits into one over IPv6.
	maxMessage = 1<<16 - 1 - ipv4Len - udpLen
)

// batch collects datagrams and sends them with as few system calls, and as few walks through the kernel, as can be: those for
// one node and of one size are one message, which the kernel, or the network card, cuts. Their parts stay where they are.
type batch struct {
	count    *counters
	socket   *socket
	segments []segment
	messages []message
	// latest is, by remote.id, the message of that remote that was begun last, or -1.
	latest  [64]int
	headers []byte

	whole  wire
	perOne wire
	uncut  *socket // one that cannot have its messages cut
}

// segment is a datagram.
type segment struct {
	head, payload []byte
	next          int
}

// message is a chain of datagrams to one remote, of the same size but for the last one.
type message struct {
	to                 *remote
	first, last, count int
	size, bytes        int
	closed             bool
}

func newBatch(count *counters) *batch {
	b := &batch{
		count: count, segments: make([]segment, 0, batchSegments), messages: make([]message, 0, batchSegments),
		headers: make([]byte, 0, batchHeaders),
	}
	b.reset()
	b.whole.init(batchSegments, 2*batchSegments)
	b.perOne.init(maxSegments, 2*maxSegments)
	return b
}

func (b *batch) reset() {
	b.segments, b.messages, b.headers = b.segments[:0], b.messages[:0], b.headers[:0]
	for i := range b.latest {
		b.latest[i] = -1
	}
}

// sockets chooses what to send with. The batch must be empty.
func (b *batch) sockets(s *sockets, worker int) {
	b.socket = s.send[worker]
}

// header returns room for a packet's header; it is good until the packet is sent.
func (b *batch) header(n int) []byte {
	if len(b.headers)+n > cap(b.headers) || len(b.segments) == cap(b.segments) {
		b.flush()
	}
	start := len(b.headers)
	b.headers = b.headers[:start+n]
	return b.headers[start : start+n : start+n]
}

// add appends a datagram made of head and payload. Neither is copied: both must stay as they are until flush.
func (b *batch) add(to *remote, head, payload []byte) {
	if len(b.segments) == cap(b.segments) {
		b.flush()
	}
	i, size := len(b.segments), len(head)+len(payload)
	b.segments = append(b.segments, segment{head, payload, -1})
	latest := &b.latest[to.id%len(b.latest)]
	if *latest >= 0 {
		if m := &b.messages[*latest]; m.to == to && m.take(size) {
			b.segments[m.last].next = i
			m.last = i
			return
		}
	}
	*latest = len(b.messages)
	b.messages = append(b.messages, message{to: to, first: i, last: i, count: 1, size: size, bytes: size})
}

// take makes room for one more datagram, if it can be part of the message: only the last one may be shorter than the others.
func (m *message) take(size int) bool {
	if m.closed || size > m.size || m.count == maxSegments || m.bytes+size > maxMessage {
		return false
	}
	m.closed = size < m.size
	m.count++
	m.bytes += size
	return true
}

// flush sends everything.
func (b *batch) flush() {
	if len(b.messages) == 0 {
		b.reset()
		return
	}
	for i := range b.messages {
		m := &b.messages[i]
		if m.count > 1 && b.uncut == b.socket {
			b.flushWire()
			b.sendEach(m)
			continue
		}
		w := &b.whole
		w.begin(&m.to.sockaddr, i)
		if m.count > 1 {
			w.cutAt(m.size)
		}
		for s := m.first; s >= 0; s = b.segments[s].next {
			w.part(b.segments[s].head)
			w.part(b.segments[s].payload)
		}
	}
	b.flushWire()
	b.reset()
}

// flushWire sends what is in the list of messages. A message that the kernel does not cut is sent in pieces.
func (b *batch) flushWire() {
	w := &b.whole
	for w.used > 0 {
		if w.send(b.socket) {
			break
		}
		m := &b.messages[w.tags[w.sent]]
		w.sent++ // skipped
		switch {
		case w.errno == unix.EIO && m.count > 1:
			// The output device cannot do checksums: it never will.
			b.uncut = b.socket
			b.sendEach(m)
		case m.count > 1 && (w.errno == unix.EINVAL || w.errno == unix.EMSGSIZE):
			b.sendEach(m) // larger than the underlay's MTU: each is to be a packet in fragments
		default:
			b.count.sendError.Add(uint64(m.count))
		}
	}
	w.reset()
}

// sendEach sends the datagrams of a message one by one.
func (b *batch) sendEach(m *message) {
	w := &b.perOne
	for s := m.first; s >= 0; s = b.segments[s].next {
		w.begin(&m.to.sockaddr, s)
		w.part(b.segments[s].head)
		w.part(b.segments[s].payload)
	}
	for !w.send(b.socket) {
		w.sent++
		b.count.sendError.Add(1)
	}
	w.reset()
}

// wire is a list of messages as sendmmsg takes them.
type wire struct {
	messages []mmsghdr
	tags     []int
	controls []segmentControl
	parts    []unix.Iovec
	// used messages and parts are filled in, sent ones are done with.
	used, usedParts, sent int
	errno                 unix.Errno
	sendFn                func(fd uintptr) bool
}

// mmsghdr is what sendmmsg and recvmmsg work on (linux/socket.h).
type mmsghdr struct {
	header unix.Msghdr
	len    uint32
}

// segmentControl is the control message that says how long each datagram is.
type segmentControl struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

func (w *wire) init(messages, parts int) {
	w.messages, w.tags = make([]mmsghdr, messages), make([]int, messages)
	w.controls, w.parts = make([]segmentControl, messages), make([]unix.Iovec, parts)
	w.sendFn = w.sendNow
}

func (w *wire) reset() { w.used, w.usedParts, w.sent = 0, 0, 0 }

// begin starts a message; tag is the caller's name for it.
func (w *wire) begin(to *rawSockaddr, tag int) {
	w.messages[w.used] = mmsghdr{header: unix.Msghdr{Name: (*byte)(unsafe.Pointer(&to.any)), Namelen: to.len, Iov: &w.parts[w.usedParts]}}
	w.tags[w.used] = tag
	w.used++
}

func (w *wire) part(b []byte) {
	if len(b) == 0 {
		return
	}
	p := &w.parts[w.usedParts]
	p.Base = unsafe.SliceData(b)
	p.SetLen(len(b))
	w.usedParts++
	h := &w.messages[w.used-1].header
	h.SetIovlen(int(h.Iovlen) + 1)
}

// cutAt has the kernel cut the message that was begun last.
func (w *wire) cutAt(size int) {
	c := &w.controls[w.used-1]
	c.header.Level, c.header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(2))
	c.size = uint16(size)
	h := &w.messages[w.used-1].header
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}

// send sends the rest of the list. It returns false when the message at sent was refused: errno says why.
func (w *wire) send(s *socket) bool {
	w.errno = 0
	if err := s.raw.Write(w.sendFn); err != nil {
		w.errno = unix.EBADF // closed
	}
	return w.errno == 0
}

// sendNow sends until the list is empty, a message is refused, or the socket's buffer is full.
func (w *wire) sendNow(fd uintptr) bool {
	for w.sent < w.used {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.messages[w.sent])), uintptr(w.used-w.sent), 0, 0, 0)
		switch errno {
		case 0:
			w.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			w.errno = errno
			return true
		}
	}
	return true
}
