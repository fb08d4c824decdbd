package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// stream sends numbered packets from a to b's pod address, one every 200 us, until the function it returns is called; that
// returns how many were sent and how many have not arrived.
func stream(t *testing.T, a, b *node) (end func() (sent, lost int)) {
	t.Helper()
	server := b.listen(podAddr(2) + ":9000")
	client := a.listen(podAddr(1) + ":0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(podAddr(2) + ":9000"))
	stop, stopped, received := make(chan struct{}), make(chan int), make(chan int, 1)
	go func() {
		sent := 0
		for tick := time.NewTicker(200 * time.Microsecond); ; {
			select {
			case <-stop:
				stopped <- sent
				return
			case <-tick.C:
				if _, err := client.WriteTo([]byte(fmt.Sprint(sent)), to); err != nil {
					t.Errorf("send: %v", err)
				}
				sent++
			}
		}
	}()
	go func() {
		for n, b := 0, make([]byte, 64); ; n++ {
			size, err := server.Read(b)
			if err != nil {
				received <- n
				return
			}
			if string(b[:size]) != fmt.Sprint(n) {
				t.Logf("got packet %s, want %d", b[:size], n)
			}
		}
	}()
	return func() (int, int) {
		close(stop)
		sent := <-stopped
		_ = server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		return sent, sent - <-received
	}
}

func TestPeersChangeUnderTraffic(t *testing.T) {
	a, b := connected(t)
	end := stream(t, a, b)
	for i := range 100 {
		more := []desired.UDPPeer{peer(10 + i), peer6(10 + i)}
		a.mustSet(a.want(append(more, peer(2))...))
		b.mustSet(b.want(append(more, peer(1))...))
		time.Sleep(5 * time.Millisecond)
	}
	if sent, lost := end(); lost > 0 || sent < 100 {
		t.Errorf("%d of %d packets are lost", lost, sent)
	}
}

func TestRestartLeavesRoutes(t *testing.T) {
	a, _ := connected(t)
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Fatal(err)
	}
	a.tunnels.Close()
	route := a.run("ip route show dev " + testDevice)
	if !strings.Contains(route, "10.244.0.0/16") || a.ping(podAddr(2), 56) == nil {
		t.Fatalf("without a process: routes %q, and pings must fail", route)
	}
	a.tunnels = New(logr.Discard())
	defer a.tunnels.Close()
	a.mustSet(a.want(peer(2)))
	start := time.Now()
	eventually(t, "packets flow again", func() bool { return a.ping(podAddr(2), 56) == nil })
	t.Logf("packets flow %s after the device was attached again", time.Since(start))
}

func TestDeviceMadeAgain(t *testing.T) {
	a, _ := connected(t)
	a.run("ip link del " + testDevice)
	if err := a.set(a.want(peer(2))); err == nil || !strings.Contains(err.Error(), "find device hsu8285") {
		t.Errorf("without a device: got %v", err)
	}
	if names := a.run("ip -br link"); strings.Contains(names, testDevice) {
		t.Errorf("set has made a device: %s", names)
	}
	a.addDevice()
	a.mustSet(a.want(peer(2)))
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Error(err)
	}
}

func TestRemovedTunnelLingers(t *testing.T) {
	a, _ := connected(t)
	a.mustSet()
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Errorf("right after it was removed: %v", err)
	}
	a.mustSet(a.want(peer(2))) // wanted again
	time.Sleep(lingerTime + 200*time.Millisecond)
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Errorf("after it was wanted again: %v", err)
	}
	a.mustSet()
	eventually(t, "the tunnel ends", func() bool { return a.ping(podAddr(2), 56) != nil })
	if len(a.tunnels.Stats()) != 0 {
		t.Error("a removed tunnel has statistics")
	}
}

func TestLocalAddressMoves(t *testing.T) {
	a, b := connected(t)
	a.run("ip addr add 192.0.2.101/24 dev eth0")
	moved := a.want(peer(2))
	moved.Local = netip.MustParseAddr("192.0.2.101")
	newPeer := desired.UDPPeer{Subnet: peer(1).Subnet, Remote: moved.Local}
	a.mustSet(moved)
	// b's answers go to the old address, and it takes nothing from the new one yet.
	server := a.listen(podAddr(1) + ":9000")
	client := b.listen(podAddr(2) + ":0")
	if _, err := client.WriteTo([]byte("to the old address"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := server.Read(make([]byte, 64)); err != nil {
		t.Errorf("what was sent to the old address: %v", err)
	}
	b.mustSet(b.want(newPeer))
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Errorf("from the new address: %v", err)
	}
	moved.Local = netip.MustParseAddr("192.0.2.77")
	if err := a.set(moved); err == nil {
		t.Error("an address that the node does not have is accepted")
	}
	if err := a.ping(podAddr(2), 56); err != nil {
		t.Errorf("after an address that cannot be bound: %v", err)
	}
}

func TestSetAgainChangesNothing(t *testing.T) {
	a, _ := connected(t)
	one := a.tunnels.active[key{testDevice, testPort}]
	table, queues, sockets := one.table.Load(), one.queues.Load(), one.sockets.Load()
	a.mustSet(a.want(peer(2), peer6(2)))
	if one.table.Load() != table || one.queues.Load() != queues || one.sockets.Load() != sockets {
		t.Error("setting the same again has replaced something")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	nodes := newNodes(t, 2)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	nodes[0].mustSet(nodes[0].want(peer(2)))
	nodes[0].tunnels.Close() // the poller's own descriptors are open now
	nodes[0].tunnels = New(logr.Discard())
	goroutines, open := runtime.NumGoroutine(), descriptors()
	for range 3 {
		n := nodes[0]
		n.mustSet(n.want(peer(2)))
		n.run("ip addr add 192.0.2.101/24 dev eth0")
		moved := n.want(peer(2))
		moved.Local = netip.MustParseAddr("192.0.2.101")
		n.mustSet(moved)
		n.mustSet()
		n.tunnels.Close()
		n.tunnels = New(logr.Discard())
		n.run("ip addr del 192.0.2.101/24 dev eth0")
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := descriptors(); n != open {
		t.Errorf("%d descriptors are open, %d were", n, open)
	}
	if err := nodes[0].tunnels.Close(); err != nil {
		t.Error(err)
	}
	if err := nodes[0].set(); err == nil {
		t.Error("Set works after Close")
	}
}

// The underlay turns out narrower than the tunnel was told: packets arrive in fragments.
func TestNarrowUnderlay(t *testing.T) {
	a, b := connected(t)
	for _, n := range []*node{a, b} {
		n.run("ip link set eth0 mtu 1400")
	}
	if err := a.ping(podAddr(2), testMTU-28); err != nil {
		t.Error(err)
	}
	server := b.listen(podAddr(2) + ":9000")
	client := a.listen(podAddr(1) + ":0")
	for range 10 {
		if _, err := client.WriteTo(make([]byte, testMTU-28), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	_ = server.SetReadDeadline(time.Now().Add(2 * time.Second))
	for i := range 10 {
		if _, err := server.Read(make([]byte, 2000)); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}
