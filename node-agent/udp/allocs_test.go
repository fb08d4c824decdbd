package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoAllocationPerPacket(t *testing.T) {
	w := manyPeers()
	table, err := newTable(w)
	if err != nil {
		t.Fatal(err)
	}
	one := &tunnel{in: make([]counters, 1), out: make([]counters, 1)}
	to, from := w.Peers[7], w.Peers[8]
	p := packet(from.Subnet.Addr().Next().String(), to.Subnet.Addr().Next().String(), protoTCP, make([]byte, 30*1420), nil)
	h, _ := parse(p)
	b := make([]byte, vnetLen+len(p))
	vnetHeader{gsoType: unix.VIRTIO_NET_HDR_GSO_TCPV4, segment: 1420, start: uint16(h.transport), offset: tcpChecksum}.encode(b)
	copy(b[vnetLen:], p)
	out := newOutbound(one, 0, nil)
	if n := testing.AllocsPerRun(100, func() { out.forward(table, b); out.batch.reset() }); n != 0 {
		t.Errorf("sending allocates %v times", n)
	}
	if got := one.out[0].packets.Load(); got < 3000 {
		t.Errorf("sent %d packets", got)
	}
	in := newInbound(one, 0, nil)
	in.merge.into(&queue{cutsUDP: true})
	in.messages[0].len = uint32(len(p))
	copy(in.buffers[0], p)
	in.from[0] = newRawSockaddr(netip.AddrPortFrom(from.Remote, testPort)).any
	if n := testing.AllocsPerRun(100, func() { in.take(table, 0); in.rearm(0); in.merge.reset() }); n != 0 {
		t.Errorf("receiving allocates %v times", n)
	}
	if got := one.in[0].packets.Load(); got < 100 {
		t.Errorf("received %d packets", got)
	}
	// Outsiders in turns, so that the last one is never the same.
	w.Subnets = []netip.Prefix{to.Subnet}
	if table, err = newTable(w); err != nil {
		t.Fatal(err)
	}
	q := packet("203.0.113.9", to.Subnet.Addr().Next().String(), protoTCP, make([]byte, 1420), nil)
	in.messages[0].len = uint32(len(q))
	copy(in.buffers[0], q)
	one.in[0].packets.Store(0)
	turn := func() { in.buffers[0][15] ^= 1; in.take(table, 0); in.rearm(0); in.merge.reset() }
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("receiving from outsiders allocates %v times", n)
	}
	if got := one.in[0].packets.Load(); got < 100 {
		t.Errorf("received %d packets of outsiders", got)
	}
}
