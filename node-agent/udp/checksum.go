package udp

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to acc as one's complement 16-bit words. Words are taken as little-endian on every machine: the Internet checksum
// does not depend on the order of bytes as long as it is the same throughout (RFC 1071), and here the result is always put
// back with putSum.
func sum(acc uint64, b []byte) uint64 {
	var c uint64
	for len(b) >= 64 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:]), c)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:]), c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		acc, c = bits.Add64(acc, binary.LittleEndian.Uint64(rest[:]), 0)
		acc += c
	}
	return acc
}

// fold brings a sum down to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// word is a number as sum counts it.
func word(v uint16) uint64 { return uint64(bits.ReverseBytes16(v)) }

// putSum stores what fold returns.
func putSum(b []byte, s uint16) { binary.LittleEndian.PutUint16(b, s) }

// pseudo is the sum of the pseudo header of p's transport without its length.
func pseudo(h header, p []byte) uint64 {
	return sum(word(uint16(h.proto)), p[h.addresses:h.addresses+2*h.addressLen])
}

// intact says whether the checksum of p, a whole TCP or UDP packet, is right. A UDP packet without one is not intact.
func intact(h header, p []byte) bool {
	if h.proto == protoUDP && p[h.transport+6]|p[h.transport+7] == 0 {
		return false
	}
	return fold(sum(pseudo(h, p)+word(uint16(len(p)-h.transport)), p[h.transport:])) == 0xffff
}
