package udp

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// batchPackets is how many packets, merged ones counted once, are collected before they are written.
	batchPackets = 128
	// maxIP is the largest IPv4 packet.
	maxIP = 1<<16 - 1
	// flows is how many flows may be interleaved and still be merged; with more, some are not.
	flows = 256
)

// merger collects packets and gives them to the device, those that follow each other in a flow as one large packet. What the
// device then does with it (cut it again, or hand it to a socket whole) is the same as if it had come in pieces: only packets
// whose headers say the same are merged, and only when their checksums are right, because a merged packet gets a new one.
//
// Order within a flow stays.
type merger struct {
	count   *counters
	queue   *queue
	packets []large
	// open is, by hash of the flow, the packet that the flow's next one may join, or -1.
	open    [flows]int
	writeFn func(fd uintptr) bool
}

// large is one packet to be written: what was received, or several of a flow.
type large struct {
	h header
	// first is the first packet, whole; bytes the length of all.
	first []byte
	bytes int
	// count packets of size bytes of payload; the next one of the flow begins at sequence number next.
	count, size int
	next        uint32
	// joinable says that others may follow, checked that the first one's checksum is right.
	joinable, checked bool
	vnet              [vnetLen]byte
	// parts are vnet, first, and the payload of the others.
	parts [2 + maxSegments]unix.Iovec
	used  int
}

func newMerger(count *counters) *merger {
	m := &merger{count: count, packets: make([]large, 0, batchPackets)}
	m.writeFn = m.writeNow
	m.reset()
	return m
}

func (m *merger) reset() {
	m.packets = m.packets[:0]
	for i := range m.open {
		m.open[i] = -1
	}
}

// into says where to write to.
func (m *merger) into(q *queue) { m.queue = q }

// add takes a packet. It is not copied, and must stay as it is until flush, except for its headers.
func (m *merger) add(p []byte, h header) {
	if h.transport == 0 {
		m.begin(p, h, false)
		return
	}
	open := &m.open[flowHash(p, h)]
	joinable := m.joinable(p, h)
	if joinable && *open >= 0 && m.packets[*open].join(p, h) {
		return
	}
	// Also when it cannot be joined: the next one of the flow must not join what is before this one.
	m.begin(p, h, joinable)
	*open = len(m.packets) - 1
}

func (m *merger) begin(p []byte, h header, joinable bool) {
	if len(m.packets) == cap(m.packets) {
		m.flush()
	}
	m.packets = m.packets[:len(m.packets)+1]
	l := &m.packets[len(m.packets)-1]
	l.h, l.first, l.bytes, l.count, l.joinable, l.checked, l.used = h, p, len(p), 1, joinable, false, 0
	l.vnet = [vnetLen]byte{}
	l.part(l.vnet[:])
	l.part(p)
	if joinable {
		l.size = len(p) - h.payload
		if h.proto == protoTCP {
			l.next = binary.BigEndian.Uint32(p[h.transport+4:]) + uint32(l.size)
			l.joinable = p[h.transport+tcpFlags]&tcpPSH == 0
		}
	}
}

func (l *large) part(b []byte) {
	l.parts[l.used].Base = &b[0]
	l.parts[l.used].SetLen(len(b))
	l.used++
}

// flowHash is small and need not be good: two flows that meet are merged less, and nothing else.
func flowHash(p []byte, h header) int {
	end := h.addresses + 2*h.addressLen
	x := binary.LittleEndian.Uint32(p[end-4:])*0x9e3779b1 ^ binary.LittleEndian.Uint32(p[h.addresses+h.addressLen-4:])*0x85ebca6b ^
		binary.LittleEndian.Uint32(p[h.transport:])*0xc2b2ae35
	return int(x >> 24)
}

// joinable says whether a packet may be part of a larger one at all.
func (m *merger) joinable(p []byte, h header) bool {
	if len(p) == h.payload || !h.v6 && h.transport != ipv4Len {
		return false
	}
	t := p[h.transport:]
	if h.proto == protoUDP {
		return m.queue.cutsUDP && t[udpChecksum]|t[udpChecksum+1] != 0
	}
	return t[tcpFlags]&^tcpPSH == tcpACK
}

// join adds p, the next packet of some flow with the same hash, when the two can be one.
func (l *large) join(p []byte, h header) bool {
	size := len(p) - h.payload
	if !l.joinable || h != l.h || size > l.size || l.bytes+size > maxIP || l.count == maxSegments || !l.sameHeaders(p) {
		return false
	}
	if !l.checked {
		if !sound(l.h, l.first) {
			l.joinable = false
			return false
		}
		l.checked = true
	}
	if !sound(h, p) {
		return false
	}
	l.part(p[h.payload:])
	l.bytes += size
	l.count++
	l.next += uint32(size)
	pushed := h.proto == protoTCP && p[h.transport+tcpFlags]&tcpPSH != 0
	if pushed {
		l.first[h.transport+tcpFlags] |= tcpPSH
	}
	l.joinable = size == l.size && !pushed
	return true
}

// sound says whether all checksums of a packet are right.
func sound(h header, p []byte) bool {
	return (h.v6 || fold(sum(0, p[:h.transport])) == 0xffff) && intact(h, p)
}

// sameHeaders says whether the headers of p are those that cutting the merged packet would give it.
func (l *large) sameHeaders(p []byte) bool {
	f, t := l.first, l.h.transport
	if l.h.v6 {
		if !bytes.Equal(f[:4], p[:4]) || !bytes.Equal(f[6:ipv6Len], p[6:ipv6Len]) {
			return false
		}
	} else {
		if !bytes.Equal(f[:2], p[:2]) || !bytes.Equal(f[6:10], p[6:10]) || !bytes.Equal(f[12:t], p[12:t]) {
			return false
		}
		// The identification matters to fragments only.
		mayFragment := f[6]&0x40 == 0
		if mayFragment && binary.BigEndian.Uint16(p[4:]) != binary.BigEndian.Uint16(f[4:])+uint16(l.count) {
			return false
		}
	}
	if !bytes.Equal(f[t:t+4], p[t:t+4]) {
		return false
	}
	if l.h.proto == protoUDP {
		return true
	}
	return binary.BigEndian.Uint32(p[t+4:]) == l.next && bytes.Equal(f[t+8:t+tcpFlags], p[t+8:t+tcpFlags]) &&
		bytes.Equal(f[t+14:t+tcpChecksum], p[t+14:t+tcpChecksum]) && bytes.Equal(f[t+18:l.h.payload], p[t+18:l.h.payload])
}

// finish makes one large packet's headers of those of its first part.
func (l *large) finish() {
	if l.count == 1 {
		return
	}
	p, t := l.first, l.first[l.h.transport:]
	v := vnetHeader{
		flags: unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, gsoType: unix.VIRTIO_NET_HDR_GSO_TCPV4,
		headerLen: uint16(l.h.payload), segment: uint16(l.size), start: uint16(l.h.transport), offset: tcpChecksum,
	}
	if l.h.v6 {
		v.gsoType = unix.VIRTIO_NET_HDR_GSO_TCPV6
		binary.BigEndian.PutUint16(p[4:], uint16(l.bytes-ipv6Len))
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(l.bytes))
		sumIP(p[:l.h.transport])
	}
	if l.h.proto == protoUDP {
		v.gsoType, v.offset = unix.VIRTIO_NET_HDR_GSO_UDP_L4, udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(l.bytes-l.h.transport))
	}
	putSum(t[v.offset:], fold(pseudo(l.h, p)+word(uint16(l.bytes-l.h.transport))))
	v.encode(l.vnet[:])
}

// flush writes everything.
func (m *merger) flush() {
	if len(m.packets) > 0 {
		if err := m.queue.raw.Write(m.writeFn); err != nil {
			m.count.sendError.Add(uint64(len(m.packets))) // the queue is closed
		}
	}
	m.reset()
}

func (m *merger) writeNow(fd uintptr) bool {
	for i := range m.packets {
		l := &m.packets[i]
		l.finish()
		if errno := writeParts(int(fd), l.parts[:l.used]); errno != 0 {
			m.count.sendError.Add(uint64(l.count))
		}
	}
	return true
}
