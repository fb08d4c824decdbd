package nft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// world is a node with a pod, a client, and everything else behind its underlay in one namespace:
//
//	pod 10.244.1.2 - cni0 10.244.1.1 [node] eth0 192.0.2.1 - 192.0.2.2 [outside]: 10.244.2.2, 203.0.113.1, 192.0.2.130, 192.0.2.3
//	client 198.51.100.2 - eth1 198.51.100.1  eth2 192.0.3.1 - 192.0.3.2
type world struct {
	t                          *testing.T
	node, pod, outside, client netns.NsHandle
	table                      *Table
	forward                    *Forward
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, node: nstest.Enter(t)}
	w.pod, w.outside, w.client = nstest.New(t), nstest.New(t), nstest.New(t)
	w.cable("p0", w.pod, "eth0")
	w.cable("eth0", w.outside, "eth0")
	w.cable("eth2", w.outside, "eth2")
	w.cable("eth1", w.client, "eth0")
	w.in(w.node, "ip link add cni0 type bridge", "ip addr add 10.244.1.1/24 dev cni0", "ip link set cni0 up", "ip link set p0 master cni0",
		"ip addr add 192.0.2.1/24 dev eth0", "ip addr add 192.0.3.1/24 dev eth2", "ip addr add 198.51.100.1/24 dev eth1",
		"ip route add 10.244.2.0/24 via 192.0.2.2 src 10.244.1.1", "ip route add default via 192.0.2.2",
		"sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0")
	w.in(w.pod, "ip addr add 10.244.1.2/24 dev eth0", "ip route add default via 10.244.1.1")
	w.in(w.client, "ip addr add 198.51.100.2/24 dev eth0", "ip route add default via 198.51.100.1")
	w.in(w.outside, "ip addr add 192.0.2.2/24 dev eth0", "ip addr add 192.0.3.2/24 dev eth2", "ip addr add 192.0.2.3/24 dev eth0",
		"ip addr add 192.0.2.130/32 dev lo", "ip addr add 10.244.2.2/32 dev lo", "ip addr add 203.0.113.1/32 dev lo",
		"ip route add 10.244.1.0/24 via 192.0.2.1")
	w.in(w.node, "ip route add 192.0.2.130/32 via 192.0.2.2")
	w.table = newTable(t)
	var err error
	if w.forward, err = NewForward(); err != nil {
		t.Fatal(err)
	}
	return w
}

// cable joins a device of the node to one of another namespace.
func (w *world) cable(name string, ns netns.NsHandle, peer string) {
	w.t.Helper()
	w.in(w.node, "ip link add "+name+" type veth peer name far0",
		fmt.Sprintf("ip link set far0 netns /proc/%d/fd/%d", os.Getpid(), int(ns)), "ip link set "+name+" up")
	w.in(ns, "ip link set far0 name "+peer, "ip link set "+peer+" up")
}

func (w *world) in(ns netns.NsHandle, commands ...string) {
	w.t.Helper()
	nstest.Do(w.t, ns, func() {
		for _, c := range commands {
			nstest.Run(w.t, c)
		}
	})
}

func (w *world) apply(fw *desired.Firewall) {
	w.t.Helper()
	if _, _, err := w.table.Sync(context.Background(), fw, false); err != nil {
		w.t.Fatal(err)
	}
}

// listen answers every datagram with the source it came from.
func (w *world) listen(ns netns.NsHandle, address string) {
	w.t.Helper()
	var conn *net.UDPConn
	nstest.Do(w.t, ns, func() {
		var err error
		if conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))); err != nil {
			w.t.Fatal(err)
		}
	})
	w.t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort([]byte(from.Addr().String()), from)
		}
	}()
}

// dial opens a socket in ns, from an address of it, with or without a port, or any ("").
func (w *world) dial(ns netns.NsHandle, from, to string) *net.UDPConn {
	w.t.Helper()
	var conn *net.UDPConn
	nstest.Do(w.t, ns, func() {
		var local *net.UDPAddr
		if strings.Contains(from, ":") {
			local = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
		} else if from != "" {
			local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		}
		var err error
		if conn, err = net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			w.t.Fatal(err)
		}
	})
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

const nothing = "nothing"

// ask sends a datagram and returns the source that its receiver saw, or nothing.
func ask(t *testing.T, conn *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, 64)
	for range 3 { // the first one may wait for ARP
		if _, err := conn.Write([]byte("?")); err != nil {
			continue // an ICMP error that an earlier one caused
		}
		if err := conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err == nil {
			return string(buf[:n])
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
	}
	return nothing
}

// seen is what a new flow's receiver sees as its source.
func (w *world) seen(ns netns.NsHandle, from, to string) string {
	w.t.Helper()
	return ask(w.t, w.dial(ns, from, to))
}

// Pods are masqueraded towards everything outside the pod networks and the exempt ones, once, and towards pods never.
func TestMasquerade(t *testing.T) {
	w := newWorld(t)
	for _, a := range []string{"10.244.2.2", "203.0.113.1", "192.0.2.2", "192.0.2.130"} {
		w.listen(w.outside, a+":7000")
	}
	w.listen(w.pod, "10.244.1.2:7000")
	w.listen(w.node, "192.0.2.1:7000")
	on, random, off := testFirewall(), testFirewall(), testFirewall()
	random.RandomFully, off.Masquerade = true, false
	for name, tc := range map[string]struct {
		fw      *desired.Firewall
		outside string // the source seen outside
	}{"on": {on, "192.0.2.1"}, "fully random": {random, "192.0.2.1"}, "off": {off, "10.244.1.2"}} {
		w.apply(tc.fw)
		for _, flow := range []struct {
			what     string
			ns       netns.NsHandle
			from, to string
			want     string
		}{
			{"pod to remote pod", w.pod, "", "10.244.2.2:7000", "10.244.1.2"},
			{"pod to outside", w.pod, "", "203.0.113.1:7000", tc.outside},
			{"pod to another node", w.pod, "", "192.0.2.2:7000", tc.outside},
			{"pod to exempt network", w.pod, "", "192.0.2.130:7000", "10.244.1.2"},
			{"pod to its own node", w.pod, "", "192.0.2.1:7000", "10.244.1.2"},
			{"node to remote pod", w.node, "", "10.244.2.2:7000", "10.244.1.1"},
			{"node to its own pod", w.node, "", "10.244.1.2:7000", "10.244.1.1"},
			{"node to outside", w.node, "", "203.0.113.1:7000", "192.0.2.1"},
			{"remote pod to pod", w.outside, "10.244.2.2", "10.244.1.2:7000", "10.244.2.2"},
			{"outside to pod", w.outside, "203.0.113.1", "10.244.1.2:7000", "203.0.113.1"},
		} {
			if got := w.seen(flow.ns, flow.from, flow.to); got != flow.want {
				t.Errorf("masquerade %s, %s: got source %s, want %s", name, flow.what, got, flow.want)
			}
		}
	}
}

// kubeProxy is what kube-proxy makes of a NodePort: DNAT and a mark, and a masquerade of what has the mark.
const kubeProxy = `
table ip kube {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		iifname "eth1" udp dport 30000 meta mark set 0x4000 dnat to 10.244.2.2:7000
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		meta mark & 0x4000 == 0 return
		counter meta mark set meta mark ^ 0x4000 masquerade
	}
}`

// A connection through a NodePort has the node's stable address as its source and outlives a change of its way; with
// kube-proxy's masquerade alone it does not. The mark does not reach what comes after.
func TestNodePort(t *testing.T) {
	for name, tc := range map[string]struct {
		table  bool
		source string
		after  string
	}{
		"hopsack":            {true, "10.244.1.1", "10.244.1.1"},
		"kube-proxy's alone": {false, "192.0.2.1", nothing},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			nft(t, kubeProxy)
			nft(t, "add table ip watch; add chain ip watch c { type filter hook postrouting priority 300; }; "+
				"add rule ip watch c ip daddr 10.244.2.2 meta mark & 0x4000 != 0 counter comment marked")
			w.listen(w.outside, "10.244.2.2:7000")
			w.in(w.outside, "ip route add 192.0.3.1/32 dev eth2") // replies may come either way
			if tc.table {
				w.apply(testFirewall())
			}
			conn := w.dial(w.client, "", "198.51.100.1:30000")
			if got := ask(t, conn); got != tc.source {
				t.Errorf("got source %s, want %s", got, tc.source)
			}
			for _, way := range []string{"192.0.3.2", "192.0.2.2", "192.0.3.2"} {
				nstest.Run(t, "ip route replace 10.244.2.0/24 via "+way+" src 10.244.1.1")
				if got := ask(t, conn); tc.table && got != tc.after {
					t.Errorf("by way of %s: got source %s, want %s", way, got, tc.after)
				} else if !tc.table && got == tc.source && way == "192.0.3.2" {
					t.Errorf("by way of %s: the connection goes on without hopsack's table, so this test proves nothing", way)
				}
			}
			if marked := nstest.Run(t, "nft list table ip watch"); !strings.Contains(marked, "packets 0 ") {
				t.Errorf("packets leave with kube-proxy's mark:\n%s", marked)
			}
		})
	}
}

// Encapsulated packets come in from peers only, and pods cannot send any: not to a peer, not to their node, not through NAT,
// and not with a peer's address as their source.
func TestTunnelsAreClosed(t *testing.T) {
	open, closed := testFirewall(), testFirewall()
	open.TunnelPorts, open.Peers = nil, nil
	closed.Peers = addrs("192.0.2.2")
	for name, tc := range map[string]struct {
		fw   *desired.Firewall
		pass bool
	}{"no tunnel": {open, true}, "tunnel": {closed, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			nft(t, "add table ip d; add chain ip d c { type nat hook prerouting priority dstnat; }; add rule ip d c udp dport 9999 dnat to 192.0.2.2:8472")
			w.in(w.pod, "ip addr add 192.0.2.2/32 dev lo") // to forge with
			w.listen(w.node, "192.0.2.1:8472")
			w.listen(w.node, "10.244.1.1:8472")
			w.listen(w.outside, "192.0.2.2:8472")
			w.apply(tc.fw)
			for _, flow := range []struct {
				what     string
				ns       netns.NsHandle
				from, to string
				source   string // "" means that it must pass in any case
			}{
				{"peer to node", w.outside, "192.0.2.2", "192.0.2.1:8472", ""},
				{"stranger to node", w.outside, "192.0.2.3", "192.0.2.1:8472", "192.0.2.3"},
				{"remote pod to node", w.outside, "10.244.2.2", "10.244.1.1:8472", "10.244.2.2"},
				{"pod to peer", w.pod, "", "192.0.2.2:8472", "192.0.2.1"},
				{"pod to peer through NAT", w.pod, "", "203.0.113.1:9999", "192.0.2.1"},
				{"pod to its node", w.pod, "", "192.0.2.1:8472", "10.244.1.2"},
				{"pod to its gateway", w.pod, "", "10.244.1.1:8472", "10.244.1.2"},
			} {
				if flow.ns == w.pod && strings.HasPrefix(flow.to, "192.0.2.2") {
					w.in(w.pod, "ip addr del 192.0.2.2/32 dev lo")
				}
				got := w.seen(flow.ns, flow.from, flow.to)
				switch {
				case flow.source == "" && got == nothing, flow.source != "" && tc.pass && got != flow.source, flow.source != "" && !tc.pass && got != nothing:
					t.Errorf("%s: got source %s", flow.what, got)
				}
			}
			// A client may send from any port, and gets its answer.
			w.listen(w.pod, "10.244.1.2:7000")
			if got := ask(t, w.dial(w.outside, "192.0.2.3:8472", "10.244.1.2:7000")); got != "192.0.2.3" {
				t.Errorf("client with the tunnel's port: got source %s", got)
			}
			if tc.pass {
				return
			}
			// The forged one cannot be answered, so what counts is whether it was dropped on the way in.
			w.in(w.pod, "ip addr add 192.0.2.2/32 dev lo")
			nft(t, "add table ip arrived; add chain ip arrived c { type filter hook input priority 100; }; add rule ip arrived c udp dport 8472 counter")
			w.seen(w.pod, "192.0.2.2", "10.244.1.1:8472")
			if out := nstest.Run(t, "nft list table ip arrived"); !strings.Contains(out, "packets 0 ") {
				t.Errorf("a pod's packet with a peer's address arrived:\n%s", out)
			}
		})
	}
}
