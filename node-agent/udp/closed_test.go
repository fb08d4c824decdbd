package udp

import (
	"fmt"
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
	b.mustSet(b.inCluster(peer(1), peer(4)))
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
	others := []string{
		"10.244.4.1", "192.0.2.4", // another peer
		"10.244.2.1", "10.244.2.9", "192.0.2.2", // node 2 itself
		"10.244.3.1", // in no peer's subnet
		"127.0.0.1", "0.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255",
	}
	for _, src := range others {
		noAnswer(a, "192.0.2.1", inner(src))
	}
	// An outsider may send to node 2's pods and nowhere else.
	for _, dst := range []string{"192.0.2.2", "192.0.2.3", "10.244.4.1", "224.0.0.1"} {
		noAnswer(a, "192.0.2.1", packet("203.0.113.9", dst, protoUDP, []byte("bad"), nil))
	}
	noAnswer(a, "192.0.2.1", []byte("not a packet"), nil, good[:30], append(good[:len(good):len(good)], 0))
	for _, src := range []string{"10.244.1.9", "192.0.2.1", "203.0.113.9"} {
		noAnswer(a, "192.0.2.1", packet(src, podAddr(2), protoUDP, []byte("good"), nil))
	}
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
	if fmt.Sprint(got) != "[good good good good]" {
		t.Errorf("arrived: %q, want only the good ones", got)
	}
	s := b.stat()
	want := Drops{Stranger: 4, WrongSource: uint64(len(others) + 4), Malformed: 4}
	s.Dropped.UnknownDestination = 0 // the kernel's own multicast
	if s.Dropped != want || s.In.Packets != 4 || s.In.Bytes != 4*uint64(len(good)) {
		t.Errorf("got %+v in %+v, want %+v and 4 packets of %d bytes", s.Dropped, s.In, want, len(good))
	}
}

// Node 3 is no part of the cluster and reaches pods by a route through node 1, as an API server may that is no node. Pods answer
// it directly.
func TestOutsidersComeThroughAPeer(t *testing.T) {
	nodes := newNodes(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.mustSet(a.inCluster(peer(2)))
	b.mustSet(b.inCluster(peer(1)))
	a.run("sysctl -q -w net.ipv4.ip_forward=1")
	b.run("sysctl -q -w net.ipv4.conf.all.rp_filter=0", "sysctl -q -w net.ipv4.conf."+testDevice+".rp_filter=0")
	c.run("ip route add 10.244.2.0/24 via 192.0.2.1 src 192.0.2.3")
	if err := c.ping(podAddr(2), 1000); err != nil {
		t.Errorf("outsider to pod: %v", err)
	}
	if s := b.stat(); s.In.Packets == 0 || s.Dropped.WrongSource > 0 {
		t.Errorf("got %+v in, %+v dropped; want the outsider's packet from node 1", s.In, s.Dropped)
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
