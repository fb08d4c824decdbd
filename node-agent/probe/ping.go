package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Of ICMP echo: the types, which differ by family, and the header before the message.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoHeader               = 8
)

// openPing opens a raw socket in the calling thread's namespace that hears echo replies only. Raw, because the kernel lets
// groups of the host, which a container does not know, use the other kind.
func openPing(like netip.Addr) (*net.IPConn, error) {
	network := "ip4:icmp"
	level, option := unix.SOL_RAW, 1             // ICMP_FILTER
	filter := []uint32{^uint32(1 << echoReply4)} // a bit set is a type dropped
	if like.Is6() {
		network = "ip6:ipv6-icmp"
		level, option = unix.SOL_ICMPV6, 1 // ICMPV6_FILTER
		filter = []uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(1 << (echoReply6 - 128)), ^uint32(0), ^uint32(0), ^uint32(0)}
	}
	raw := make([]byte, 0, 4*len(filter))
	for _, word := range filter {
		raw = binary.NativeEndian.AppendUint32(raw, word)
	}
	control := func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptString(int(fd), level, option, string(raw)) })
		return errors.Join(err, failed)
	}
	conn, err := (&net.ListenConfig{Control: control}).ListenPacket(context.Background(), network, "")
	if err != nil {
		return nil, fmt.Errorf("open ICMP socket: %w", err)
	}
	return conn.(*net.IPConn), nil
}

// sendEcho sends a message as an echo request.
func sendEcho(conn *net.IPConn, b []byte, to netip.Addr) error {
	packet := make([]byte, echoHeader+len(b))
	copy(packet[echoHeader:], b)
	packet[0] = echoRequest6 // with IPv6 the kernel fills in the checksum
	if to.Is4() {
		packet[0] = echoRequest4
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
	_, err := conn.WriteToIP(packet, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
	return err
}

// serveEchoes hands echo replies to who waits for them until the socket is closed.
func (p *Prober) serveEchoes(conn *net.IPConn) {
	p.readers.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromIP(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				time.Sleep(time.Millisecond) // as in serve
			default:
				p.fromEcho(buf[:n], from)
			}
		}
	})
}

func (p *Prober) fromEcho(b []byte, from *net.IPAddr) {
	a, ok := netip.AddrFromSlice(from.IP)
	if a = a.Unmap(); !ok || len(b) < echoHeader || a.Is4() && b[0] != echoReply4 || a.Is6() && b[0] != echoReply6 {
		return
	}
	m, err := parse(b[echoHeader:])
	if err != nil || m.kind != kindRequest { // it comes back as it was sent
		return
	}
	p.calls.answered(m, a, len(b)-echoHeader, time.Now())
}

// checksum is that of the Internet protocols (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
