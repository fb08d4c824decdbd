package monitor_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/monitor"
)

const (
	// quiet is how long nothing must come for nothing to have come.
	quiet = 250 * time.Millisecond
	// patience is how long what must come may take on a busy machine; how quick it is, the benchmark of drift tells.
	patience = 20 * time.Second
)

// node is a namespace with an underlay and a pod's port, in which a monitor runs and a dataplane keeps a State.
type node struct {
	t         *testing.T
	ns        netns.NsHandle
	dir       string
	want      desired.State
	dataplane *dataplane.Dataplane
	monitor   *monitor.Monitor
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, ns: nstest.Enter(t), dir: t.TempDir()}
	n.run("ip link add eth0 type veth peer name eth0p", "ip addr add 172.30.0.1/24 dev eth0", "ip link set eth0p up", "ip link set eth0 up",
		"ip route add default via 172.30.0.254", "sysctl -qw net.ipv4.conf.all.rp_filter=1")
	n.want = n.state()
	var err error
	n.dataplane, err = dataplane.New(dataplane.Options{StateDir: n.dir})
	if err != nil {
		t.Fatal(err)
	}
	n.monitor, err = monitor.New(monitor.Options{Log: testr.New(t), Paths: []string{n.want.Files[0].Path, filepath.Join(n.dir, "net.d") + "/"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := nstest.Go(t, n.ns, func() {
		if err := n.monitor.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	n.settle()
	n.run("ip link add port0 type veth peer name port0p", "ip link set port0p up", "ip link set port0 master cni0", "ip link set port0 up",
		"ip link set port0 alias hopsack-pod")
	return n
}

func (n *node) run(commands ...string) {
	n.t.Helper()
	for _, c := range commands {
		nstest.Run(n.t, c)
	}
}

// sync does what the agent's loop does.
func (n *node) sync() dataplane.Changes {
	n.t.Helper()
	n.monitor.SetInterest(monitor.Interest{State: n.want, Underlay: "eth0", OwnPort: n.dataplane.Port()})
	r, err := n.dataplane.Sync(context.Background(), n.want, false)
	if err != nil {
		n.t.Fatalf("sync: %v", err)
	}
	return r.Changes
}

// settle runs passes until no event comes any more, which must be soon: a pass that changes nothing causes none.
func (n *node) settle() {
	n.t.Helper()
	n.sync()
	for range 10 {
		if _, came := n.event(quiet); !came {
			return
		}
		n.sync()
	}
	n.t.Fatal("passes go on waking themselves")
}

// event waits for an event.
func (n *node) event(wait time.Duration) (monitor.Event, bool) {
	select {
	case e := <-n.monitor.Events():
		return e, true
	case <-time.After(wait):
		return monitor.Event{}, false
	}
}

func (n *node) state() desired.State {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	s := desired.State{
		Links: map[string]desired.Link{
			"cni0":     {Kind: desired.KindBridge, MAC: network.MAC{6, 0, 0, 0, 0, 1}, MTU: 1500},
			"hsu8285":  {Kind: desired.KindTUN, MTU: 1472, Port: 8285},
			"hs1-8472": {Kind: desired.KindVXLAN, MAC: network.MAC{2, 0, 0, 0, 0, 1}, MTU: 1450, VNI: 1, Port: 8472, Local: addr("172.30.0.1")},
		},
		Addrs: map[desired.AddrKey]desired.Scope{
			{Device: "cni0", Prefix: prefix("10.244.1.1/24")}:     desired.ScopeGlobal,
			{Device: "hs1-8472", Prefix: prefix("10.244.1.0/32")}: desired.ScopeLink,
			{Device: "hsu8285", Prefix: prefix("10.244.1.0/32")}:  desired.ScopeLink,
		},
		FDB: map[desired.FDBKey]netip.Addr{}, Neighs: map[desired.NeighKey]network.MAC{},
		Routes: map[netip.Prefix]desired.Route{prefix("10.244.0.0/16"): {Unreachable: true}},
		Tables: map[int]map[netip.Prefix]desired.Route{10400: {
			prefix("10.244.2.0/30"): {Device: "hsu8285", Source: addr("10.244.1.1"), MTU: 1472}, prefix("10.244.0.0/16"): {Unreachable: true},
		}},
		Rules:   map[desired.Rule]struct{}{{Source: addr("10.244.1.2"), Port: 10401, Table: 10400}: {}},
		Loose:   map[string]struct{}{"eth0": {}, "hs1-8472": {}},
		Sysctls: map[string]string{"net/ipv4/ip_forward": "1"},
		Firewall: &desired.Firewall{
			Bridge: "cni0", PodNetworks: []netip.Prefix{prefix("10.244.0.0/16")}, LocalSubnets: []netip.Prefix{prefix("10.244.1.0/24")},
			Masquerade: true, NodePortMark: 0x4000, NodeAddrs: []netip.Addr{addr("10.244.1.1")}, TunnelPorts: []uint16{8472},
		},
		Files: []desired.File{{Path: filepath.Join(n.dir, "run", "cni.json"), Content: "{}\n"}, {Path: filepath.Join(n.dir, "net.d", "05-x"), Content: "x"}},
	}
	for i := range byte(3) {
		mac, node := network.MAC{2, 0, 0, 0, 0, i + 2}, addr(fmt.Sprintf("172.30.0.%d", i+2))
		subnet := prefix(fmt.Sprintf("10.244.%d.0/24", i+2))
		s.FDB[desired.FDBKey{Device: "hs1-8472", MAC: mac}] = node
		s.Neighs[desired.NeighKey{Device: "hs1-8472", IP: subnet.Addr()}] = mac
		s.Routes[subnet] = desired.Route{Device: "hs1-8472", Gateway: subnet.Addr(), OnLink: true, Source: addr("10.244.1.1"), MTU: 1450}
		s.Firewall.Peers = append(s.Firewall.Peers, node)
	}
	s.Routes[prefix("10.244.4.0/24")] = desired.Route{Device: "eth0", Gateway: addr("172.30.0.4"), Source: addr("10.244.1.1")}
	return s
}

// picture is all that drift could change, as the tools print it.
func (n *node) picture() string {
	n.t.Helper()
	var out strings.Builder
	for _, command := range []string{
		"ip -d -o link show cni0", "ip -d -o link show hs1-8472", "ip -o addr show dev cni0 scope global", "ip -o addr show dev hs1-8472",
		"ip -d -o link show hsu8285", "ip -o addr show dev hsu8285", "ip rule", "ip route show table 10400",
		"ip route", "ip neigh show dev hs1-8472", "bridge fdb show dev hs1-8472", "bridge link show", "nft -s list ruleset",
		"sysctl net.ipv4.ip_forward net.ipv4.conf.eth0.rp_filter net.ipv4.conf.hs1-8472.rp_filter",
	} {
		out.WriteString(nstest.Run(n.t, command))
	}
	for _, f := range n.want.Files {
		b, err := os.ReadFile(f.Path)
		fmt.Fprintln(&out, f.Path, string(b), err)
	}
	return out.String()
}
