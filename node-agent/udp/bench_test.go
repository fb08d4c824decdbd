package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{64, 1420, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				sum(0, p)
			}
		})
	}
}

// manyPeers is a tunnel to 5,000 nodes.
func manyPeers() desired.UDPTunnel {
	w := desired.UDPTunnel{Local: netip.MustParseAddr("172.16.0.1"), Port: testPort}
	for i := range 5000 {
		w.Peers = append(w.Peers, desired.UDPPeer{
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24),
			Remote: netip.AddrFrom4([4]byte{172, 17, byte(i >> 8), byte(i)}),
		})
	}
	return w
}

func BenchmarkLookup(b *testing.B) {
	table, err := newTable(manyPeers())
	if err != nil {
		b.Fatal(err)
	}
	var addr [4]byte
	i := uint32(0)
	for b.Loop() {
		i += 2654435761
		binary.BigEndian.PutUint32(addr[:], 10<<24|i%5000<<8|1)
		if table.lookup(netip.AddrFrom4(addr)) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkNewTable(b *testing.B) {
	w := manyPeers()
	for b.Loop() {
		if _, err := newTable(w); err != nil {
			b.Fatal(err)
		}
	}
}

// large64k is a packet as the device hands it out for a stream: 45 of them in one.
func large64k() ([]byte, header, vnetHeader) {
	p := packet("10.244.1.1", "10.244.2.1", protoTCP, make([]byte, 45*1420), nil)
	h, _ := parse(p)
	return p, h, vnetHeader{gsoType: unix.VIRTIO_NET_HDR_GSO_TCPV4, segment: 1420, start: uint16(h.transport), offset: tcpChecksum}
}

func BenchmarkCut(b *testing.B) {
	p, h, v := large64k()
	batch, to := newBatch(&counters{}), &remote{}
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		cut(batch, to, p, h, v)
		batch.reset()
	}
}

func BenchmarkMerge(b *testing.B) {
	p, h, v := large64k()
	batch := newBatch(&counters{})
	cut(batch, &remote{}, p, h, v)
	var packets [][]byte
	for _, s := range batch.segments {
		packets = append(packets, append(append([]byte(nil), s.head...), s.payload...))
	}
	total := binary.BigEndian.Uint16(packets[0][2:])
	m := newMerger(&counters{})
	m.into(&queue{cutsUDP: true})
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		binary.BigEndian.PutUint16(packets[0][2:], total)
		for _, p := range packets {
			h, _ := parse(p)
			m.add(p, h)
		}
		if len(m.packets) != 1 {
			b.Fatalf("merged into %d packets", len(m.packets))
		}
		m.reset()
	}
}
