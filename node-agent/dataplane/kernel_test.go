package dataplane

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func TestSmoke(t *testing.T) {
	nstest.Enter(t)
	nstest.Run(t, "ip link add eth0 type veth peer name eth0p")
	nstest.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	nstest.Run(t, "ip link set eth0 up")
	nstest.Run(t, "ip link set eth0p up")
	dp, err := New(Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	want := desired.State{
		Links: map[string]desired.Link{
			"cni0":     {Kind: desired.KindBridge, MAC: network.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500},
			"hs1-8472": {Kind: desired.KindVXLAN, MAC: network.MAC{2, 0, 0, 0, 0, 2}, MTU: 1450, VNI: 1, Port: 8472, Local: addr("192.0.2.1")},
		},
		Addrs: map[desired.AddrKey]desired.Scope{
			{Device: "cni0", Prefix: netip.MustParsePrefix("10.244.1.1/24")}:     desired.ScopeGlobal,
			{Device: "hs1-8472", Prefix: netip.MustParsePrefix("10.244.1.0/32")}: desired.ScopeLink,
		},
		FDB:    map[desired.FDBKey]netip.Addr{{Device: "hs1-8472", MAC: network.MAC{2, 0, 0, 0, 0, 3}}: addr("192.0.2.2")},
		Neighs: map[desired.NeighKey]network.MAC{{Device: "hs1-8472", IP: addr("10.244.2.0")}: {2, 0, 0, 0, 0, 3}},
		Routes: map[netip.Prefix]desired.Route{
			netip.MustParsePrefix("10.244.0.0/16"): {Unreachable: true},
			netip.MustParsePrefix("10.244.2.0/24"): {Device: "hs1-8472", Gateway: addr("10.244.2.0"), OnLink: true, Source: addr("10.244.1.1"), MTU: 1450},
		},
		Loose:   map[string]struct{}{"eth0": {}, "hs1-8472": {}},
		Sysctls: map[string]string{"net/ipv4/ip_forward": "1"},
	}
	for i := range 3 {
		r, err := dp.Sync(context.Background(), want, i == 1)
		t.Log(r, err)
		if i > 0 && r.Changes.Total() != 0 {
			t.Errorf("pass %d wrote %s", i, r.Changes)
		}
	}
	t.Log(nstest.Run(t, "ip -d addr"))
	t.Log(nstest.Run(t, "ip route"))
	t.Log(nstest.Run(t, "ip neigh show dev hs1-8472"))
	t.Log(nstest.Run(t, "bridge fdb show dev hs1-8472"))
	r, err := dp.Sync(context.Background(), desired.State{}, true)
	t.Log(r, err)
	t.Log(nstest.Run(t, "ip addr"), nstest.Run(t, "ip route"))
	_ = cmp.Diff
}
