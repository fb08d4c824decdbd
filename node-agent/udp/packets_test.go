package udp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// packet builds an IPv4 or IPv6 packet of TCP or UDP with right checksums.
func packet(src, dst string, proto uint8, payload []byte, change func(network, transport []byte)) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	transport := make([]byte, map[uint8]int{protoTCP: tcpLen + 12, protoUDP: udpLen}[proto])
	binary.BigEndian.PutUint16(transport, 40000)
	binary.BigEndian.PutUint16(transport[2:], 9000)
	if proto == protoTCP {
		transport[12], transport[tcpFlags] = 8<<4, tcpACK
	} else {
		binary.BigEndian.PutUint16(transport[4:], uint16(udpLen+len(payload)))
	}
	size := len(transport) + len(payload)
	var network []byte
	if from.Is4() {
		network = make([]byte, ipv4Len)
		network[0], network[6], network[8], network[9] = 0x45, 0x40, 63, proto
		binary.BigEndian.PutUint16(network[2:], uint16(ipv4Len+size))
		copy(network[12:], from.AsSlice())
		copy(network[16:], to.AsSlice())
	} else {
		network = make([]byte, ipv6Len)
		network[0], network[6], network[7] = 0x60, proto, 63
		binary.BigEndian.PutUint16(network[4:], uint16(size))
		copy(network[8:], from.AsSlice())
		copy(network[24:], to.AsSlice())
	}
	if change != nil {
		change(network, transport)
	}
	p := append(append(network, transport...), payload...)
	if h, ok := parse(p); ok {
		if !h.v6 {
			sumIP(p[:len(network)])
		}
		if h.transport > 0 {
			at := h.transport + map[uint8]int{protoTCP: tcpChecksum, protoUDP: udpChecksum}[proto]
			putSum(p[at:], 0)
			putSum(p[at:], ^fold(sum(pseudo(h, p)+word(uint16(size)), p[h.transport:])))
		}
	}
	return p
}

func TestParse(t *testing.T) {
	tcp := packet("10.244.1.1", "10.244.2.1", protoTCP, []byte("hello"), nil)
	udp6 := packet("fd00:1::1", "fd00:2::1", protoUDP, []byte("hello"), nil)
	changed := func(p []byte, at int, to byte) []byte { p = bytes.Clone(p); p[at] = to; return p }
	for name, c := range map[string]struct {
		p         []byte
		ok        bool
		transport int
	}{
		"tcp":                  {tcp, true, 20},
		"udp over IPv6":        {udp6, true, 40},
		"empty":                {nil, false, 0},
		"no version":           {changed(tcp, 0, 0), false, 0},
		"header too short":     {changed(tcp, 0, 0x44), false, 0},
		"header too long":      {changed(tcp[:24], 0, 0x4f), false, 0},
		"cut off":              {tcp[:len(tcp)-1], false, 0},
		"bytes after the end":  {append(bytes.Clone(tcp), 0), false, 0},
		"IPv6 cut off":         {udp6[:len(udp6)-1], false, 0},
		"IPv6 without a whole": {udp6[:39], false, 0},
		"fragment":             {changed(tcp, 7, 1), true, 0},
		"first fragment":       {changed(tcp, 6, 0x20), true, 0},
		"tcp header too long":  {changed(tcp, 32, 0xf0), true, 0},
		"tcp header too short": {changed(tcp, 32, 0x40), true, 0},
		"udp length wrong":     {changed(udp6, 45, 1), true, 0},
		"icmp":                 {changed(tcp, 9, 1), true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, ok := parse(c.p)
			if ok != c.ok || h.transport != c.transport {
				t.Errorf("got %t, transport at %d; want %t, %d", ok, h.transport, c.ok, c.transport)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(packet("10.244.1.1", "10.244.2.1", protoTCP, []byte("hello"), nil))
	f.Add(packet("fd00:1::1", "fd00:2::1", protoUDP, []byte("hello"), nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ok := parse(p)
		if !ok {
			return
		}
		h.source(p)
		h.destination(p)
		if h.payload > len(p) || h.transport > h.payload {
			t.Fatalf("payload at %d, transport at %d of %d bytes", h.payload, h.transport, len(p))
		}
		m := newMerger(&counters{})
		m.into(&queue{cutsUDP: true})
		m.add(p, h)
		m.add(bytes.Clone(p), h)
		for i := range m.packets {
			m.packets[i].finish()
		}
		b := newBatch(&counters{})
		v := vnetHeader{gsoType: unix.VIRTIO_NET_HDR_GSO_TCPV4, segment: 7, start: uint16(h.transport), offset: tcpChecksum}
		finish(bytes.Clone(p), h, v)
		if len(p) < 1000 {
			cut(b, &remote{}, p, h, v)
		}
	})
}

// What the kernel would do with a merged packet: finish makes it, cut takes it apart again.
func cutAgain(t *testing.T, l *large) [][]byte {
	t.Helper()
	whole := bytes.Clone(l.first)
	for _, part := range l.parts[2:l.used] {
		whole = append(whole, bytesOf(part)...)
	}
	h, ok := parse(whole)
	if !ok {
		t.Fatalf("merged packet of %d bytes is not sound", len(whole))
	}
	v := decodeVnet(l.vnet[:])
	if l.count == 1 {
		if v != (vnetHeader{}) {
			t.Fatalf("single packet with virtio header %+v", v)
		}
		return [][]byte{whole}
	}
	b := newBatch(&counters{})
	if n := cut(b, &remote{}, whole, h, v); n != l.count {
		t.Fatalf("merged from %d, cut into %d", l.count, n)
	}
	var out [][]byte
	for _, s := range b.segments {
		out = append(out, append(bytes.Clone(s.head), s.payload...))
	}
	return out
}

// Whatever is merged comes out of the kernel as it came in: same packets, same bytes, same order within a flow.
func TestMergeThenCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	merged := 0
	for _, v6 := range []bool{false, true} {
		for _, proto := range []uint8{protoTCP, protoUDP} {
			for range 200 {
				sent := flow(random, v6, proto)
				m := newMerger(&counters{})
				m.into(&queue{cutsUDP: true})
				for _, p := range sent {
					q := bytes.Clone(p)
					h, ok := parse(q)
					if !ok {
						t.Fatal("test packet is not sound")
					}
					m.add(q, h)
				}
				var got [][]byte
				merged += len(sent) - len(m.packets)
				for i := range m.packets {
					m.packets[i].finish()
					got = append(got, cutAgain(t, &m.packets[i])...)
				}
				compare(t, got, sent)
			}
		}
	}
	if merged < 10000 {
		t.Errorf("only %d packets were merged", merged)
	}
}

func compare(t *testing.T, got, sent [][]byte) {
	t.Helper()
	if len(got) != len(sent) {
		t.Fatalf("got %d packets, sent %d", len(got), len(sent))
	}
	for i := range got {
		if !bytes.Equal(got[i], sent[i]) {
			t.Fatalf("packet %d:\n got %x\nsent %x", i, got[i], sent[i])
		}
	}
}

// flow is packets of one flow: mostly what can be merged, now and then something that cannot.
func flow(random *rand.Rand, v6 bool, proto uint8) [][]byte {
	src, dst := "10.244.1.1", "10.244.2.1"
	if v6 {
		src, dst = "fd00:1::1", "fd00:2::1"
	}
	seq, ack, id := random.Uint32(), uint32(1), uint16(0)
	var out [][]byte
	for range 1 + random.IntN(100) {
		payload := make([]byte, 100)
		if random.IntN(10) == 0 {
			payload = payload[:random.IntN(100)]
		}
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		odd := random.IntN(20)
		p := packet(src, dst, proto, payload, func(network, transport []byte) {
			if !v6 {
				binary.BigEndian.PutUint16(network[4:], id)
				if odd == 0 {
					network[8]-- // TTL
				}
			} else if odd == 0 {
				network[7]--
			}
			if odd == 1 {
				network[1] |= 0x30 // ECN: congestion was met; IPv6: part of the traffic class
			}
			if proto != protoTCP {
				return
			}
			if odd == 2 {
				ack++
			}
			if odd == 3 {
				transport[tcpFlags] |= tcpFIN
			}
			if odd == 4 {
				transport[tcpFlags] |= tcpPSH
			}
			if odd == 5 {
				seq += 7
			}
			if odd == 6 {
				transport[25] = 1 // an option
			}
			binary.BigEndian.PutUint32(transport[4:], seq)
			binary.BigEndian.PutUint32(transport[8:], ack)
		})
		if odd == 7 {
			p[len(p)-1] ^= 1 // damaged on the way
		}
		seq += uint32(len(payload))
		id++
		out = append(out, p)
	}
	return out
}
