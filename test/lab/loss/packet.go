package loss

import "encoding/binary"

// MinSize is the smallest UDP payload in bytes: the probe's header.
const MinSize = headerLen

const (
	headerLen  = 24
	maxPayload = 65507
	magic      = 0x68734c50

	// A record on a TCP connection is a header padded to this many bytes.
	recordLen = 64
)

// Phases of a measurement. A packet carries the phase it was sent in, so that stragglers of the warm-up are not
// taken for packets of the measurement.
const (
	phaseWarm int32 = iota
	phaseMeasure
	phaseDrain
	phaseStop
)

// header is what a probe packet carries. run tells this measurement from an earlier one on the same port.
type header struct {
	run    uint64
	stream uint8
	phase  uint8
	seq    uint64
}

// put writes h at the start of b, which holds at least headerLen bytes.
func (h header) put(b []byte) {
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint64(b[4:], h.run)
	b[12], b[13], b[14], b[15] = h.stream, h.phase, 0, 0
	binary.BigEndian.PutUint64(b[16:], h.seq)
}

// parseHeader reads a header; ok is false for what is no probe packet.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerLen || binary.BigEndian.Uint32(b) != magic {
		return header{}, false
	}
	return header{
		run:    binary.BigEndian.Uint64(b[4:]),
		stream: b[12],
		phase:  b[13],
		seq:    binary.BigEndian.Uint64(b[16:]),
	}, true
}
