package udp

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchMessages is how many messages are received at once. Each is one datagram or, coalesced by the kernel, many.
	batchMessages = 16
	messageSize   = 1 << 16
)

// inbound carries packets from a socket to the device. It is a goroutine's own.
type inbound struct {
	t      *tunnel
	worker int
	socket *socket
	count  *counters

	messages []mmsghdr
	from     []unix.RawSockaddrInet6
	controls []groControl
	parts    []unix.Iovec
	buffers  [][]byte
	received int
	errno    unix.Errno

	merge *merger
	// last spares a look-up: consecutive packets tend to come from the same place.
	last struct {
		table *table
		v6    bool
		src   [16]byte
		of    *remote
	}
	readFn func(fd uintptr) bool
}

// groControl is room for the control message that says how long the datagrams in a message are.
type groControl struct {
	header unix.Cmsghdr
	size   [12]byte
}

func newInbound(t *tunnel, worker int, s *socket) *inbound {
	in := &inbound{
		t: t, worker: worker, socket: s, count: &t.in[worker],
		messages: make([]mmsghdr, batchMessages), from: make([]unix.RawSockaddrInet6, batchMessages),
		controls: make([]groControl, batchMessages), parts: make([]unix.Iovec, batchMessages), buffers: make([][]byte, batchMessages),
	}
	for i := range in.messages {
		in.buffers[i] = make([]byte, messageSize)
		in.parts[i].Base = &in.buffers[i][0]
		in.parts[i].SetLen(messageSize)
		h := &in.messages[i].header
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&in.from[i])), &in.parts[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&in.controls[i]))
		in.rearm(i)
	}
	in.merge = newMerger(in.count)
	in.readFn = in.read
	return in
}

// rearm makes a message ready to be received into.
func (in *inbound) rearm(i int) {
	h := &in.messages[i].header
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(int(unsafe.Sizeof(in.controls[i])))
	h.Flags = 0
}

// run works until the socket is closed.
func (in *inbound) run() {
	for {
		if err := in.socket.raw.Read(in.readFn); err != nil {
			return
		}
		if in.errno != 0 {
			time.Sleep(10 * time.Millisecond) // out of memory: nothing to be done but not to spin
			continue
		}
		q := (*in.t.queues.Load())[in.worker]
		in.merge.into(q)
		table := in.t.table.Load()
		for i := range in.received {
			in.take(table, i)
			in.rearm(i)
		}
		in.merge.flush()
	}
}

// read receives what waits, or says that there is nothing yet.
func (in *inbound) read(fd uintptr) bool {
	for {
		in.received, in.errno = receiveNow(int(fd), in.messages)
		switch in.errno {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// take looks at a message: who sent it, and what packets are in it.
func (in *inbound) take(t *table, i int) {
	m := &in.messages[i]
	b := in.buffers[i][:min(int(m.len), messageSize)]
	size := segmentSize(&m.header, &in.controls[i], len(b))
	from := t.remotes[addrOf(&in.from[i])]
	if from == nil {
		in.count.stranger.Add(uint64((len(b) + size - 1) / size))
		return
	}
	if m.header.Flags&unix.MSG_TRUNC != 0 || len(b) == 0 {
		in.count.malformed.Add(1)
		return
	}
	var packets, bytes uint64
	for len(b) > 0 {
		p := b[:min(size, len(b))]
		b = b[len(p):]
		h, ok := parse(p)
		if !ok {
			in.count.malformed.Add(1)
			continue
		}
		if who := in.owner(t, h, p); who != from && !(who == outsider && within(t.own, h.destination(p))) {
			in.count.wrongSource.Add(1)
			continue
		}
		in.merge.add(p, h)
		packets++
		bytes += uint64(len(p))
	}
	in.count.packets.Add(packets)
	in.count.bytes.Add(bytes)
}

// segmentSize is how long the datagrams in a message of n bytes are, the last one may be shorter. It is at least 1.
func segmentSize(h *unix.Msghdr, c *groControl, n int) int {
	if uint64(h.Controllen) >= uint64(unix.CmsgLen(2)) && c.header.Level == unix.SOL_UDP && c.header.Type == unix.UDP_GRO {
		// An int since Linux 5.0, whose 16 bits that count are where a uint16 would be on little-endian machines only.
		if size := int(binary.NativeEndian.Uint32(c.size[:])); size > 0 {
			return size
		}
	}
	return max(n, 1)
}

// owner is whose address the packet's source is.
func (in *inbound) owner(t *table, h header, p []byte) *remote {
	src := p[h.addresses : h.addresses+h.addressLen]
	if l := &in.last; l.table == t && l.v6 == h.v6 && string(l.src[:h.addressLen]) == string(src) {
		return l.of
	}
	in.last.table, in.last.v6, in.last.of = t, h.v6, t.owner(h.source(p))
	copy(in.last.src[:], src)
	return in.last.of
}
