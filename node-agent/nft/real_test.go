package nft

import (
	"context"
	"net/netip"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func prefixes(in ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(in ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func testFirewall() *desired.Firewall {
	return &desired.Firewall{
		Bridge: "cni0", PodNetworks: prefixes("10.244.0.0/16"), LocalSubnets: prefixes("10.244.1.0/24"),
		Masquerade: true, Except: prefixes("192.0.2.128/25"), RandomFully: true, NodePortMark: 0x4000,
		NodeAddrs: addrs("10.244.1.1"), TunnelPorts: []uint16{8472}, Peers: addrs("192.0.2.2", "192.0.2.3"),
	}
}

func TestSmoke(t *testing.T) {
	nstest.Enter(t)
	ctx := context.Background()
	table, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	fw, err := NewForward()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		n, p, err := table.Sync(ctx, testFirewall(), i == 1)
		t.Log(n, p, err)
		n, p, err = fw.Sync(ctx, testFirewall(), i == 1)
		t.Log(n, p, err)
	}
	t.Log(nstest.Run(t, "nft list ruleset"))
	want := testFirewall()
	want.Peers = addrs("192.0.2.3", "192.0.2.4")
	t.Log(table.Sync(ctx, want, false))
	t.Log(nstest.Run(t, "nft list set inet hopsack peers4"))
	t.Log(table.Sync(ctx, nil, false))
	t.Log(fw.Sync(ctx, nil, false))
	t.Log(nstest.Run(t, "nft list ruleset"))
}
