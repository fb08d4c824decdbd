package udp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// vnetLen is the length of the virtio header before every packet read from or written to a device (linux/virtio_net.h).
const vnetLen = 10

// vnetHeader tells what the kernel left to do, or what is left to the kernel.
type vnetHeader struct {
	flags, gsoType uint8
	// headerLen is the length of all headers, segment the payload per packet; start and offset say where to put a checksum.
	headerLen, segment, start, offset uint16
}

func decodeVnet(b []byte) vnetHeader {
	n := binary.NativeEndian
	return vnetHeader{b[0], b[1], n.Uint16(b[2:]), n.Uint16(b[4:]), n.Uint16(b[6:]), n.Uint16(b[8:])}
}

func (v vnetHeader) encode(b []byte) {
	n := binary.NativeEndian
	b[0], b[1] = v.flags, v.gsoType
	n.PutUint16(b[2:], v.headerLen)
	n.PutUint16(b[4:], v.segment)
	n.PutUint16(b[6:], v.start)
	n.PutUint16(b[8:], v.offset)
}

// gso is the kind of cutting to be done, without the mark for ECN, which the packet's own flags tell.
func (v vnetHeader) gso() uint8 { return v.gsoType &^ unix.VIRTIO_NET_HDR_GSO_ECN }
