package probe

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// world is nodes 1 and 2 on one underlay, with two tunnels and the direct way between them:
//
//	hsprobe 10.244.1.2 - cni0 10.244.1.1 [node 1] eth0 172.30.0.11 - br0 [underlay] - 172.30.0.12 eth0 [node 2] cni0 10.244.2.1
//
// The current path (table main) is hs1-8472, "new/routes" is hs7-4789 (table 10401), "new/direct" needs no tunnel (10402).
type world struct {
	t        testing.TB
	underlay netns.NsHandle
	nodes    [3]netns.NsHandle // from 1
	probers  [3]*Prober
}

const (
	tunnelPath = "new/routes"
	directPath = "new/direct"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, underlay: nstest.Enter(t)}
	w.in(w.underlay, "ip link add br0 type bridge", "ip link set br0 up")
	for i := 1; i <= 2; i++ {
		w.nodes[i] = nstest.New(t)
		w.node(i)
	}
	for i := 1; i <= 2; i++ {
		w.peer(i, 3-i)
	}
	w.settle(w.underlay, "br0", "p1", "p2")
	w.settle(w.nodes[1], "eth0")
	w.settle(w.nodes[2], "eth0")
	return w
}

// prober configures the prober of node i, made at the first call.
func (w *world) prober(i int, change ...func(*Config)) *Prober {
	w.t.Helper()
	if w.probers[i] == nil {
		p := New(logger(w.t))
		w.t.Cleanup(func() {
			if err := p.Close(); err != nil {
				w.t.Errorf("close prober %d: %v", i, err)
			}
		})
		w.probers[i] = p
	}
	w.configure(i, w.probers[i], change...)
	return w.probers[i]
}

func (w *world) configure(i int, p *Prober, change ...func(*Config)) {
	w.t.Helper()
	c := testConfig(i)
	for _, f := range change {
		f(&c)
	}
	nstest.Do(w.t, w.nodes[i], func() {
		if err := p.Configure(c); err != nil {
			w.t.Fatal(err)
		}
	})
}

func testConfig(i int) Config {
	return Config{
		Bridge:  "cni0",
		Address: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.2/24", i)),
		Gateway: netip.MustParseAddr(fmt.Sprintf("10.244.%d.1", i)),
		MTU:     1500,
		Paths: []Path{
			{Name: "", Port: 10400, MTU: 1450, TunnelPort: 8472},
			{Name: tunnelPath, Port: 10401, MTU: 1450, TunnelPort: 4789},
			{Name: directPath, Port: 10402, MTU: 1500},
		},
		Peers: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", 3-i))},
	}
}

func target(i int, path string) Target {
	return Target{
		Node:     fmt.Sprintf("n%d", i),
		Pod:      netip.MustParseAddr(fmt.Sprintf("10.244.%d.2", i)),
		Gateway:  netip.MustParseAddr(fmt.Sprintf("10.244.%d.1", i)),
		Underlay: netip.MustParseAddr(fmt.Sprintf("172.30.0.1%d", i)),
		Direct:   path == directPath,
	}
}

// ask asks node to from node from over a path.
func (w *world) ask(from, to int, path string) Answer {
	return w.probers[from].Ask(w.t.Context(), path, target(to, path))
}

func (w *world) in(ns netns.NsHandle, commands ...string) {
	w.t.Helper()
	nstest.Do(w.t, ns, func() {
		for _, c := range commands {
			nstest.Run(w.t, c)
		}
	})
}

// nft adds rules to a table of a family, whose chains are made beforehand at every hook of a filter.
func (w *world) nft(ns netns.NsHandle, family string, rules ...string) {
	w.t.Helper()
	script := "table " + family + " test {\n"
	for _, hook := range []string{"input", "forward", "output"} {
		script += fmt.Sprintf("chain %s { type filter hook %s priority 0; }\n", hook, hook)
	}
	script += "}\n"
	for _, r := range rules {
		script += "add rule " + family + " test " + r + "\n"
	}
	file := w.t.TempDir() + "/rules.nft"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.in(ns, "nft -f "+file)
}

func (w *world) node(i int) {
	w.t.Helper()
	ns := w.nodes[i]
	w.in(w.underlay, fmt.Sprintf("ip link add p%d type veth peer name far0", i),
		fmt.Sprintf("ip link set far0 netns /proc/%d/fd/%d", os.Getpid(), int(ns)),
		fmt.Sprintf("ip link set p%d master br0", i), fmt.Sprintf("ip link set p%d up", i))
	w.in(ns, "ip link set far0 name eth0", fmt.Sprintf("ip addr add 172.30.0.1%d/24 dev eth0", i), "ip link set eth0 up",
		"ip link add cni0 type bridge", fmt.Sprintf("ip addr add 10.244.%d.1/24 dev cni0", i), "ip link set cni0 up",
		"sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=2")
	for device, id := range map[string]int{"hs1-8472": 1, "hs7-4789": 7} {
		_, port, _ := strings.Cut(device, "-")
		w.in(ns, fmt.Sprintf("ip link add %s address %s type vxlan id %d dstport %s local 172.30.0.1%d nolearning", device, vtep(i, id), id, port, i),
			fmt.Sprintf("ip addr add 10.244.%d.0/32 dev %s scope link", i, device), "ip link set "+device+" up")
	}
}

// peer makes node i send to node j.
func (w *world) peer(i, j int) {
	w.t.Helper()
	ns := w.nodes[i]
	for device, id := range map[string]int{"hs1-8472": 1, "hs7-4789": 7} {
		w.in(ns, fmt.Sprintf("bridge fdb append %s dev %s dst 172.30.0.1%d", vtep(j, id), device, j),
			fmt.Sprintf("ip neigh add 10.244.%d.0 lladdr %s dev %s nud permanent", j, vtep(j, id), device))
	}
	w.in(ns, fmt.Sprintf("ip route add 10.244.%d.0/24 via 10.244.%d.0 dev hs1-8472 onlink src 10.244.%d.1", j, j, i),
		fmt.Sprintf("ip route add 10.244.%d.0/24 via 10.244.%d.0 dev hs7-4789 onlink table 10401", j, j),
		fmt.Sprintf("ip route add 10.244.%d.0/24 via 172.30.0.1%d table 10402", j, j))
	for table := 10401; table <= 10402; table++ {
		w.in(ns, fmt.Sprintf("ip rule add from 10.244.%d.2 ipproto udp sport %d lookup %d priority 104", i, table, table))
	}
}

func vtep(node, id int) string { return fmt.Sprintf("02:00:00:00:0%d:0%d", id, node) }

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

// settle waits until devices are operational.
func (w *world) settle(ns netns.NsHandle, devices ...string) {
	w.t.Helper()
	for _, name := range devices {
		eventually(w.t, name+" up", func() (up bool) {
			nstest.Do(w.t, ns, func() {
				link, err := netlink.LinkByName(name)
				up = err == nil && link.Attrs().OperState == netlink.OperUp
			})
			return up
		})
	}
}

// stop closes the prober of node i.
func (w *world) stop(i int) {
	w.t.Helper()
	if err := w.probers[i].Close(); err != nil {
		w.t.Fatal(err)
	}
}

func logger(t testing.TB) logr.Logger {
	if t, ok := t.(*testing.T); ok {
		return testr.NewWithOptions(t, testr.Options{Verbosity: 1})
	}
	return logr.Discard()
}

// pod makes a pod on node i with an address, and returns its namespace.
func (w *world) pod(i int, address string) netns.NsHandle {
	w.t.Helper()
	ns := nstest.New(w.t)
	w.in(w.nodes[i], "ip link add pod0 type veth peer name far0",
		fmt.Sprintf("ip link set far0 netns /proc/%d/fd/%d", os.Getpid(), int(ns)), "ip link set pod0 master cni0", "ip link set pod0 up")
	w.in(ns, "ip link set far0 name eth0", "ip addr add "+address+"/24 dev eth0", "ip link set eth0 up",
		fmt.Sprintf("ip route add default via 10.244.%d.1", i))
	w.settle(w.nodes[i], "pod0", "cni0")
	w.settle(ns, "eth0")
	return ns
}

// listen opens a socket in ns.
func (w *world) listen(ns netns.NsHandle, at string) *net.UDPConn {
	w.t.Helper()
	var conn *net.UDPConn
	nstest.Do(w.t, ns, func() {
		var err error
		if conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))); err != nil {
			w.t.Fatal(err)
		}
	})
	w.t.Cleanup(func() { conn.Close() })
	return conn
}
