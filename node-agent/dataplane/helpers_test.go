package dataplane_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

const tunnel = "hs1-8472"

// vtep is the MAC of the i-th node's vxlan device.
func vtep(i int) network.MAC { return network.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)} }

// underlay is the i-th node's address.
func underlay(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 30, byte(i >> 8), byte(i)})
}

// subnet is the i-th node's.
func subnet(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i>>8), byte(i), 0}), 24)
}

func gateway(i int) netip.Addr { return subnet(i).Addr().Next() }

// nodeState is what node self wants with vxlan and the given peers.
func nodeState(dir string, self int, peers ...int) desired.State {
	s := desired.State{
		Links: map[string]desired.Link{
			"cni0": {Kind: desired.KindBridge, MAC: network.MAC{6, 0, 0, 0, byte(self >> 8), byte(self)}, MTU: 1500},
			tunnel: {Kind: desired.KindVXLAN, MAC: vtep(self), MTU: 1450, VNI: 1, Port: 8472, Local: underlay(self)},
		},
		Addrs: map[desired.AddrKey]desired.Scope{
			{Device: "cni0", Prefix: netip.PrefixFrom(gateway(self), 24)}:       desired.ScopeGlobal,
			{Device: tunnel, Prefix: netip.PrefixFrom(subnet(self).Addr(), 32)}: desired.ScopeLink,
		},
		FDB:     map[desired.FDBKey]netip.Addr{},
		Neighs:  map[desired.NeighKey]network.MAC{},
		Routes:  map[netip.Prefix]desired.Route{prefix("10.64.0.0/10"): {Unreachable: true}},
		Loose:   map[string]struct{}{},
		Sysctls: map[string]string{"net/ipv4/ip_forward": "1"},
		Firewall: &desired.Firewall{
			Bridge: "cni0", PodNetworks: []netip.Prefix{prefix("10.64.0.0/10")}, LocalSubnets: []netip.Prefix{subnet(self)},
			Masquerade: true, NodePortMark: 0x4000, NodeAddrs: []netip.Addr{gateway(self)}, TunnelPorts: []uint16{8472},
		},
		Files: []desired.File{
			{Path: filepath.Join(dir, "subnet.env"), Content: fmt.Sprintf("# mark\nSUBNET=%s\n", subnet(self))},
			{Path: filepath.Join(dir, "run", "cni.json"), Content: fmt.Sprintf("{%q: 1}\n", subnet(self))},
		},
	}
	for _, i := range peers {
		s.FDB[desired.FDBKey{Device: tunnel, MAC: vtep(i)}] = underlay(i)
		s.Neighs[desired.NeighKey{Device: tunnel, IP: subnet(i).Addr()}] = vtep(i)
		s.Routes[subnet(i)] = desired.Route{Device: tunnel, Gateway: subnet(i).Addr(), OnLink: true, Source: gateway(self), MTU: 1450}
		s.Firewall.Peers = append(s.Firewall.Peers, underlay(i))
	}
	return s
}

// direct makes the route to a peer one without encapsulation.
func direct(s desired.State, self, peer int) {
	s.Routes[subnet(peer)] = desired.Route{Device: "eth0", Gateway: underlay(peer), Source: gateway(self)}
}

// withUnderlay gives the current namespace an eth0 whose other end is eth0p, with the first node's address.
func withUnderlay(t testing.TB) {
	t.Helper()
	nstest.Run(t, "ip link add eth0 type veth peer name eth0p")
	nstest.Run(t, "ip addr add "+underlay(1).String()+"/16 dev eth0")
	nstest.Run(t, "ip link set eth0 addrgenmode none") // a link-local address would come and settle when it likes
	nstest.Run(t, "ip link set eth0p addrgenmode none")
	nstest.Run(t, "ip link set eth0p up")
	nstest.Run(t, "ip link set eth0 up")
}

func options(t testing.TB) dataplane.Options {
	t.Helper()
	dir := t.TempDir()
	return dataplane.Options{StateDir: dir, Linger: -1, PodsDir: filepath.Join(dir, "pods"), OwnedFiles: []dataplane.OwnedFile{
		{Path: filepath.Join(dir, "subnet.env"), Mark: "# mark"}, {Path: filepath.Join(dir, "run", "cni.json")},
	}}
}

func newDataplane(t testing.TB, o dataplane.Options) *dataplane.Dataplane {
	t.Helper()
	d, err := dataplane.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sync runs one pass that must not fail, and returns its report.
func sync(t testing.TB, d *dataplane.Dataplane, want desired.State) dataplane.Report {
	t.Helper()
	r, err := d.Sync(context.Background(), want, false)
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	return r
}

// settled fails the test unless a pass, and a full one, make no change.
func settled(t testing.TB, d *dataplane.Dataplane, want desired.State) {
	t.Helper()
	for _, full := range []bool{false, true} {
		r, err := d.Sync(context.Background(), want, full)
		if err != nil || r.Changes.Total() != 0 {
			t.Errorf("second sync (full=%t): got changes %q, error %v, want none", full, r.Changes, err)
		}
	}
}

// contains fails the test unless a command prints all the words in one line.
func contains(t testing.TB, command string, words ...string) {
	t.Helper()
	out := nstest.Run(t, command)
	for line := range strings.Lines(out) {
		found := true
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			return
		}
	}
	t.Errorf("%s: got\n%swant a line with %q", command, out, words)
}

// withTUN adds the TUN device of a udp tunnel.
func withTUN(s *desired.State, self int, port uint16) {
	name := desired.UDPTunnelName(port)
	s.Links[name] = desired.Link{Kind: desired.KindTUN, MTU: 1472, Port: port}
	s.Addrs[desired.AddrKey{Device: name, Prefix: netip.PrefixFrom(subnet(self).Addr(), 32)}] = desired.ScopeLink
}

// withPath adds a routing table that leads probes to a peer by a tunnel, and the rule that leads there.
func withPath(s *desired.State, self, table int, device string, peer int) {
	r := desired.Route{Device: device, Source: gateway(self)}
	if s.Links[device].Kind == desired.KindVXLAN {
		r.Gateway, r.OnLink = subnet(peer).Addr(), true
	}
	if s.Tables == nil {
		s.Tables, s.Rules = map[int]map[netip.Prefix]desired.Route{}, map[desired.Rule]struct{}{}
	}
	s.Tables[table] = map[netip.Prefix]desired.Route{
		netip.PrefixFrom(subnet(peer).Addr(), 30): r, prefix("10.64.0.0/10"): {Unreachable: true},
	}
	s.Rules[desired.Rule{Source: reserved(self), Port: uint16(table + 1), Table: table}] = struct{}{}
}

// reserved is the address in the i-th node's subnet that probes come from.
func reserved(i int) netip.Addr { return gateway(i).Next() }
