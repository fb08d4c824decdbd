package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const (
	testDevice = "hsu8285"
	testPort   = 8285
	testMTU    = 1472
)

// node is a machine in a namespace of its own, with an address that stands for its pods:
//
//	10.244.1.1 lo [node 1] eth0 192.0.2.1 - br0 in the switch - eth0 192.0.2.2 [node 2] 10.244.2.1 lo
type node struct {
	t       testing.TB
	n       int
	ns      netns.NsHandle
	tunnels *Tunnels
}

func nodeAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
func podAddr(n int) string      { return fmt.Sprintf("10.244.%d.1", n) }

func peer(n int) desired.UDPPeer {
	return desired.UDPPeer{Subnet: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", n)), Remote: nodeAddr(n)}
}

func peer6(n int) desired.UDPPeer {
	return desired.UDPPeer{Subnet: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", n)), Remote: nodeAddr(n)}
}

// newNodes makes nodes on a switch, with devices and routes but no tunnels.
func newNodes(t testing.TB, count int) []*node {
	t.Helper()
	nstest.Enter(t)
	nstest.Run(t, "ip link add br0 type bridge")
	nstest.Run(t, "ip link set br0 up")
	var nodes []*node
	for i := 1; i <= count; i++ {
		n := &node{t: t, n: i, ns: nstest.New(t), tunnels: New(testr.New(asT(t)))}
		t.Cleanup(func() { n.tunnels.Close() })
		nstest.Run(t, fmt.Sprintf("ip link add p%d type veth peer name eth0 netns /proc/%d/fd/%d", i, os.Getpid(), int(n.ns)))
		nstest.Run(t, fmt.Sprintf("ip link set p%d master br0 up", i))
		n.run(fmt.Sprintf("ip addr add %s/24 dev eth0", nodeAddr(i)), "ip link set eth0 up",
			fmt.Sprintf("ip addr add %s/32 dev lo", podAddr(i)), fmt.Sprintf("ip addr add fd00:%d::1/128 dev lo nodad", i))
		n.addDevice()
		nodes = append(nodes, n)
	}
	for _, n := range nodes[1:] { // a switch takes a while to forward
		eventually(t, "the underlay works", func() bool { return nodes[0].ping(nodeAddr(n.n).String(), 0) == nil })
	}
	return nodes
}

func asT(t testing.TB) *testing.T {
	if test, ok := t.(*testing.T); ok {
		return test
	}
	return &testing.T{}
}

// addDevice makes the device as the dataplane does, with routes through it.
func (n *node) addDevice() {
	n.t.Helper()
	n.run("ip tuntap add dev "+testDevice+" mode tun multi_queue vnet_hdr", fmt.Sprintf("ip link set %s mtu %d up", testDevice, testMTU),
		fmt.Sprintf("ip route add 10.244.0.0/16 dev %s src %s", testDevice, podAddr(n.n)), fmt.Sprintf("ip route add fd00::/16 dev %s src fd00:%d::1", testDevice, n.n))
}

func (n *node) run(commands ...string) string {
	n.t.Helper()
	out := ""
	nstest.Do(n.t, n.ns, func() {
		for _, c := range commands {
			out = nstest.Run(n.t, c)
		}
	})
	return out
}

// want is a tunnel to these nodes.
func (n *node) want(peers ...desired.UDPPeer) desired.UDPTunnel {
	return desired.UDPTunnel{Device: testDevice, Port: testPort, Local: nodeAddr(n.n), MTU: testMTU, Peers: peers}
}

// inCluster is a tunnel to these nodes that knows what else there is in the cluster.
func (n *node) inCluster(peers ...desired.UDPPeer) desired.UDPTunnel {
	w := n.want(peers...)
	w.Subnets = []netip.Prefix{peer(n.n).Subnet, peer6(n.n).Subnet}
	w.Networks = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/16")}
	w.Hosts = []netip.Addr{w.Local}
	return w
}

func (n *node) set(tunnels ...desired.UDPTunnel) error {
	n.t.Helper()
	var err error
	nstest.Do(n.t, n.ns, func() { err = n.tunnels.Set(tunnels) })
	return err
}

func (n *node) mustSet(tunnels ...desired.UDPTunnel) {
	n.t.Helper()
	if err := n.set(tunnels...); err != nil {
		n.t.Fatalf("node %d: %v", n.n, err)
	}
}

func (n *node) stat() Stat {
	n.t.Helper()
	stats := n.tunnels.Stats()
	if len(stats) != 1 {
		n.t.Fatalf("node %d has %d tunnels, want 1", n.n, len(stats))
	}
	return stats[0]
}

// connected makes two nodes that know each other.
func connected(t testing.TB) (a, b *node) {
	t.Helper()
	nodes := newNodes(t, 2)
	for i, n := range nodes {
		other := 2 - i
		n.mustSet(n.want(peer(other), peer6(other)))
	}
	return nodes[0], nodes[1]
}

func (n *node) ping(to string, size int) error {
	n.t.Helper()
	var err error
	nstest.Do(n.t, n.ns, func() { _, err = runQuietly("ping", "-c1", "-W1", "-M", "do", "-s", fmt.Sprint(size), to) })
	return err
}

// listen opens a UDP socket at the node's pod address.
func (n *node) listen(address string) *net.UDPConn {
	n.t.Helper()
	var conn *net.UDPConn
	nstest.Do(n.t, n.ns, func() {
		var err error
		if conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))); err != nil {
			n.t.Fatal(err)
		}
	})
	n.t.Cleanup(func() { conn.Close() })
	return conn
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(lingerTime + 10*time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// bytesOf is what an Iovec points to.
func bytesOf(v unix.Iovec) []byte { return unsafe.Slice(v.Base, int(v.Len)) }
