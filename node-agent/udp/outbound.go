package udp

import (
	"golang.org/x/sys/unix"
)

const (
	// packetSize is room for the largest packet of a device with its virtio header.
	packetSize = vnetLen + 1<<16
	// arenaSize holds what is read before it is sent: small packets up to the size of a large one, and one more of any size.
	arenaSize = 2 * packetSize
	// maxReads bounds how long the first of many small packets waits for the others.
	maxReads = 128
)

// outbound carries packets from one queue of the device to the other nodes. It is a goroutine's own.
type outbound struct {
	t      *tunnel
	worker int
	queue  *queue
	count  *counters

	arena []byte
	// used is how much of arena is taken, reads how many packets are in it, found[i] where the i-th one is.
	used, reads int
	found       [maxReads]span
	err         error

	batch *batch
	// last spares a look-up: consecutive packets tend to go the same way.
	last struct {
		table *table
		v6    bool
		dst   [16]byte
		to    *remote
	}
	readFn func(fd uintptr) bool
}

// span is a part of a buffer.
type span struct{ start, end int }

func newOutbound(t *tunnel, worker int, q *queue) *outbound {
	count := &t.out[worker]
	o := &outbound{t: t, worker: worker, queue: q, count: count, arena: make([]byte, arenaSize), batch: newBatch(count)}
	o.readFn = o.read
	return o
}

// run works until the queue is closed or its device is gone.
func (o *outbound) run() {
	for {
		o.used, o.reads, o.err = 0, 0, nil
		if err := o.queue.raw.Read(o.readFn); err != nil {
			return
		}
		s := o.t.sockets.Load()
		table := o.t.table.Load()
		o.batch.sockets(s, o.worker)
		for _, at := range o.found[:o.reads] {
			o.forward(table, o.arena[at.start:at.end])
		}
		o.batch.flush()
		if o.err != nil {
			o.t.log.Info("Detached from the device", "reason", o.err.Error())
			return
		}
	}
}

// read fills the arena with all that waits, or says that there is nothing yet.
func (o *outbound) read(fd uintptr) bool {
	for o.reads < maxReads && len(o.arena)-o.used >= packetSize {
		n, errno := readNow(int(fd), o.arena[o.used:])
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return o.reads > 0
		default:
			o.err = errno // EBADFD: the device was deleted
			return true
		}
		o.found[o.reads] = span{o.used, o.used + n}
		o.reads++
		o.used += (n + 63) &^ 63 // so that two packets never share a cache line
	}
	return true
}

// forward puts a packet, with its virtio header, into the batch.
func (o *outbound) forward(table *table, b []byte) {
	if len(b) < vnetLen {
		o.count.malformed.Add(1)
		return
	}
	v, p := decodeVnet(b), b[vnetLen:]
	h, ok := parse(p)
	if !ok {
		o.count.malformed.Add(1)
		return
	}
	to := o.lookup(table, h, p)
	if to == nil {
		o.count.unknown.Add(1)
		return
	}
	n := 1
	switch v.gso() {
	case unix.VIRTIO_NET_HDR_GSO_NONE:
		if v.flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 && !finish(p, h, v) {
			o.count.malformed.Add(1)
			return
		}
		o.batch.add(to, nil, p)
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6, unix.VIRTIO_NET_HDR_GSO_UDP_L4:
		if n = cut(o.batch, to, p, h, v); n == 0 {
			o.count.malformed.Add(1)
			return
		}
	default:
		o.count.malformed.Add(1)
		return
	}
	o.count.packets.Add(uint64(n))
	o.count.bytes.Add(uint64(len(p) + (n-1)*h.payload))
}

func (o *outbound) lookup(t *table, h header, p []byte) *remote {
	dst := p[h.addresses+h.addressLen : h.addresses+2*h.addressLen]
	if l := &o.last; l.table == t && l.v6 == h.v6 && string(l.dst[:h.addressLen]) == string(dst) {
		return l.to
	}
	o.last.table, o.last.v6, o.last.to = t, h.v6, t.lookup(h.destination(p))
	copy(o.last.dst[:], dst)
	return o.last.to
}
