package udp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

const (
	tcpFlags    = 13 // offsets in a transport header
	tcpChecksum = 16
	udpChecksum = 6
)

// finish puts in a checksum that the kernel has left out. It returns false when the place for it is outside the packet.
func finish(p []byte, h header, v vnetHeader) bool {
	start, at := int(v.start), int(v.start)+int(v.offset)
	if start < ipv4Len || at+2 > len(p) {
		return false
	}
	// The field itself holds the sum of the pseudo header.
	s := ^fold(sum(0, p[start:]))
	if s == 0 && h.proto == protoUDP {
		s = 0xffff // 0 would mean that there is none
	}
	putSum(p[at:], s)
	return true
}

// cut turns a large packet into those it stands for, every one whole, and adds them to b. Payload is not copied. It returns how
// many they are; 0 says that the packet is not what its virtio header says.
func cut(b *batch, to *remote, p []byte, h header, v vnetHeader) int {
	size, payload := int(v.segment), p[h.payload:]
	proto := uint8(protoTCP)
	if v.gso() == unix.VIRTIO_NET_HDR_GSO_UDP_L4 {
		proto = protoUDP
	}
	if h.transport == 0 || h.proto != proto || size == 0 || len(payload) == 0 {
		return 0
	}
	base := pseudo(h, p)
	n := 0
	for ; len(payload) > 0; n++ {
		part := payload[:min(size, len(payload))]
		payload = payload[len(part):]
		head := b.header(h.payload)
		copy(head, p)
		cutIP(head, h, len(part), n)
		transport := head[h.transport:]
		at := tcpChecksum
		if proto == protoTCP {
			cutTCP(transport, n, size, len(payload) == 0)
		} else {
			at = udpChecksum
			binary.BigEndian.PutUint16(transport[4:], uint16(udpLen+len(part)))
		}
		transport[at], transport[at+1] = 0, 0
		s := ^fold(sum(sum(base+word(uint16(len(transport)+len(part))), transport), part))
		if s == 0 && proto == protoUDP {
			s = 0xffff
		}
		putSum(transport[at:], s)
		b.add(to, head, part)
	}
	return n
}

// cutIP sets the network header of the n-th packet. Identifications count up from the first, as if the sender had sent them.
func cutIP(head []byte, h header, payload, n int) {
	if h.v6 {
		binary.BigEndian.PutUint16(head[4:], uint16(len(head)-ipv6Len+payload))
		return
	}
	binary.BigEndian.PutUint16(head[2:], uint16(len(head)+payload))
	binary.BigEndian.PutUint16(head[4:], binary.BigEndian.Uint16(head[4:])+uint16(n))
	sumIP(head[:h.transport])
}

// sumIP puts in the checksum of an IPv4 header.
func sumIP(head []byte) {
	head[10], head[11] = 0, 0
	putSum(head[10:], ^fold(sum(0, head)))
}

// cutTCP sets sequence number and flags: the end of the data and the wish to have it read belong to the last packet, the
// answer to a congestion mark to the first.
func cutTCP(t []byte, n, size int, last bool) {
	binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(n*size))
	if !last {
		t[tcpFlags] &^= tcpFIN | tcpPSH
	}
	if n > 0 {
		t[tcpFlags] &^= tcpCWR
	}
}
