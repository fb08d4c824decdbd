package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// send sends datagrams to node 2's tunnel from an address of n, and says whether one of them was answered.
func (n *node) send(from string, datagrams ...[]byte) (answered bool) {
	n.t.Helper()
	conn := n.listen(from + ":0")
	for _, d := range datagrams {
		if _, err := conn.WriteTo(d, net.UDPAddrFromAddrPort(netip.AddrPortFrom(nodeAddr(2), testPort))); err != nil {
			n.t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := conn.Read(make([]byte, 2000))
	return err == nil
}

// Node 2 knows node 1; node 3 is a stranger to it. All packets are for a socket on node 2 that takes everything.
func TestClosedToOthers(t *testing.T) {
	nodes := newNodes(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.run("ip addr add 192.0.2.101/24 dev eth0")
	b.mustSet(b.want(peer(1), peer(4)))
	server := b.listen(podAddr(2) + ":9000")
	good := packet("10.244.1.1", podAddr(2), protoUDP, []byte("good"), nil)
	inner := func(src string) []byte { return packet(src, podAddr(2), protoUDP, []byte("bad"), nil) }
	noAnswer := func(n *node, from string, datagrams ...[]byte) {
		t.Helper()
		if n.send(from, datagrams...) {
			t.Errorf("an answer to %s", from)
		}
	}
	noAnswer(c, "192.0.2.3", inner("10.244.1.1"), inner("10.244.3.1"), []byte("?"))
	noAnswer(a, "192.0.2.101", inner("10.244.1.1"))
	noAnswer(a, "192.0.2.1", inner("10.244.4.1"), inner("10.244.2.1"), inner("192.0.2.1"), inner("127.0.0.1"))
	noAnswer(a, "192.0.2.1", []byte("not a packet"), nil, good[:30], append(good[:len(good):len(good)], 0))
	noAnswer(a, "192.0.2.1", good)
	_ = server.SetReadDeadline(time.Now().Add(time.Second))
	var got []string
	for buf := make([]byte, 64); ; {
		n, err := server.Read(buf)
		if err != nil {
			break
		}
		got = append(got, string(buf[:n]))
	}
	if len(got) != 1 || got[0] != "good" {
		t.Errorf("arrived: %q, want only the good one", got)
	}
	s := b.stat()
	want := Drops{Stranger: 4, WrongSource: 4, Malformed: 4}
	s.Dropped.UnknownDestination = 0 // the kernel's own multicast
	if s.Dropped != want || s.In.Packets != 1 || s.In.Bytes != uint64(len(good)) {
		t.Errorf("got %+v in %+v, want %+v and one packet of %d bytes", s.Dropped, s.In, want, len(good))
	}
}

// A packet goes out from the address that the lease publishes, whatever the node's first one is, and to nobody but its peer.
func TestSourceIsLocal(t *testing.T) {
	nodes := newNodes(t, 2)
	a, b := nodes[0], nodes[1]
	a.run("ip addr add 192.0.2.101/24 dev eth0")
	w := a.want(peer(2))
	w.Local = netip.MustParseAddr("192.0.2.101")
	a.mustSet(w)
	server := b.listen("192.0.2.2:8285")
	client := a.listen(podAddr(1) + ":0")
	for _, to := range []string{podAddr(2) + ":9000", "10.244.9.9:9000"} {
		if _, err := client.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			t.Fatal(err)
		}
	}
	_ = server.SetReadDeadline(time.Now().Add(time.Second))
	_, from, err := server.ReadFromUDPAddrPort(make([]byte, 2000))
	if err != nil || from.Addr() != w.Local {
		t.Errorf("got a datagram from %s: %v", from, err)
	}
	eventually(t, "the packet for nobody is counted", func() bool { return a.stat().Dropped.UnknownDestination > 0 })
}
