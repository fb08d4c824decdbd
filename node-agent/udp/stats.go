package udp

import "sync/atomic"

// Stat counts what a tunnel did since it was made. Packets are inner ones, as pods sent them; bytes are theirs, without what the
// tunnel adds.
type Stat struct {
	Device string
	Port   uint16
	// In is what was taken from other nodes and given to the device, Out the other direction.
	In, Out Traffic
	// Dropped counts packets that went nowhere, by reason.
	Dropped Drops
}

// Traffic is a count of packets and of their bytes.
type Traffic struct{ Packets, Bytes uint64 }

// Drops counts dropped packets. All but UnknownDestination and SendError are refusals of what others sent.
type Drops struct {
	// UnknownDestination: no peer has a subnet with the destination in it.
	UnknownDestination uint64
	// Stranger: the datagram came from an address that no peer publishes. Counted by datagram.
	Stranger uint64
	// WrongSource: the packet came from a peer, but its own source is another node's or nobody's, or that of an outsider who sends
	// to no pod of this node.
	WrongSource uint64
	// Malformed: not one whole IPv4 or IPv6 packet.
	Malformed uint64
	// SendError: the kernel did not take the packet, on either side.
	SendError uint64
}

// counters are a worker's own, so that no two cores write to the same cache line; they are added up when asked for.
type counters struct {
	packets, bytes                                       atomic.Uint64
	unknown, stranger, wrongSource, malformed, sendError atomic.Uint64
	_                                                    [64]byte
}

func (c *counters) addTo(t *Traffic, d *Drops) {
	t.Packets += c.packets.Load()
	t.Bytes += c.bytes.Load()
	d.UnknownDestination += c.unknown.Load()
	d.Stranger += c.stranger.Load()
	d.WrongSource += c.wrongSource.Load()
	d.Malformed += c.malformed.Load()
	d.SendError += c.sendError.Load()
}
