package udp

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoTCP = 6
	protoUDP = 17
)

const (
	ipv4Len = 20
	ipv6Len = 40
	tcpLen  = 20
	udpLen  = 8
)

// header says what a packet is, as far as its first bytes were found to be sound.
type header struct {
	v6 bool
	// addresses is the offset of the source, which the destination follows; addressLen the length of either.
	addresses, addressLen int
	// transport is the offset of the transport header; 0 when that is not one of an unfragmented TCP or UDP packet.
	transport int
	// payload is the offset of what follows the transport header, when there is one.
	payload int
	proto   uint8
}

// parse looks at a packet that somebody else made. It returns false unless the packet is IPv4 or IPv6 and exactly as long as
// it says. The transport is described only when all of its header is there and the packet is no fragment.
func parse(p []byte) (h header, ok bool) {
	if len(p) < ipv4Len {
		return header{}, false
	}
	switch p[0] >> 4 {
	case 4:
		start := int(p[0]&0xf) * 4
		if start < ipv4Len || start > len(p) || int(binary.BigEndian.Uint16(p[2:])) != len(p) {
			return header{}, false
		}
		h = header{addresses: 12, addressLen: 4, proto: p[9]}
		if fragment := binary.BigEndian.Uint16(p[6:])&0x3fff != 0; !fragment {
			h.transport = start
		}
	case 6:
		if len(p) < ipv6Len || int(binary.BigEndian.Uint16(p[4:])) != len(p)-ipv6Len {
			return header{}, false
		}
		h = header{v6: true, addresses: 8, addressLen: 16, proto: p[6], transport: ipv6Len}
	default:
		return header{}, false
	}
	if h.transport > 0 {
		h.payload = transportEnd(h, p)
		if h.payload == 0 {
			h.transport = 0
		}
	}
	return h, true
}

// transportEnd is where the transport header of p ends, 0 when there is no sound one.
func transportEnd(h header, p []byte) int {
	t := p[h.transport:]
	switch {
	case h.proto == protoTCP && len(t) >= tcpLen:
		if n := int(t[12]>>4) * 4; n >= tcpLen && n <= len(t) {
			return h.transport + n
		}
	case h.proto == protoUDP && len(t) >= udpLen:
		if int(binary.BigEndian.Uint16(t[4:])) == len(t) {
			return h.transport + udpLen
		}
	}
	return 0
}

func (h header) source(p []byte) netip.Addr { return address(p[h.addresses:], h.v6) }

func (h header) destination(p []byte) netip.Addr {
	return address(p[h.addresses+h.addressLen:], h.v6)
}

func address(b []byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}
