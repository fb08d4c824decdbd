package udp

import (
	"net/netip"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func TestLookup(t *testing.T) {
	p := func(subnet, remote string) desired.UDPPeer {
		return desired.UDPPeer{Subnet: netip.MustParsePrefix(subnet), Remote: netip.MustParseAddr(remote)}
	}
	table, err := newTable(desired.UDPTunnel{Local: netip.MustParseAddr("192.0.2.1"), Port: testPort, Peers: []desired.UDPPeer{
		p("10.1.0.0/16", "192.0.2.2"), p("10.1.2.0/24", "192.0.2.3"), p("fd00:2::/64", "192.0.2.3"), p("10.3.0.0/24", "2001:db8::3"),
	}})
	if err == nil || err.Error() != "peer 10.3.0.0/24 at 2001:db8::3 cannot be reached from 192.0.2.1" {
		t.Errorf("got error %v", err)
	}
	for addr, want := range map[string]string{
		"10.1.0.1": "192.0.2.2", "10.1.2.1": "192.0.2.3", "10.1.2.255": "192.0.2.3", "10.1.3.0": "192.0.2.2",
		"fd00:2::1": "192.0.2.3", "10.2.0.1": "", "10.3.0.1": "", "fd00:3::1": "", "::ffff:10.1.0.1": "",
	} {
		got := ""
		if r := table.lookup(netip.MustParseAddr(addr)); r != nil {
			got = r.addr.String()
		}
		if got != want {
			t.Errorf("%s goes to %q, want %q", addr, got, want)
		}
	}
}

func TestOwner(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	table, err := newTable(desired.UDPTunnel{
		Local: addr("192.0.2.1"), Port: testPort,
		Peers: []desired.UDPPeer{
			{Subnet: prefix("10.244.2.0/24"), Remote: addr("192.0.2.2"), Other: addr("2001:db8::2")},
			{Subnet: prefix("fd00:0:0:2::/64"), Remote: addr("192.0.2.2"), Other: addr("2001:db8::2")},
			{Subnet: prefix("10.244.3.0/24"), Remote: addr("192.0.2.3")},
		},
		Subnets:  []netip.Prefix{prefix("10.244.1.0/24"), prefix("172.16.1.0/24"), prefix("fd00:0:0:1::/64")},
		Networks: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00::/48")},
		Hosts:    []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1"), addr("2001:db8::9")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"10.244.2.1": "192.0.2.2", "192.0.2.2": "192.0.2.2", "fd00:0:0:2::1": "192.0.2.2", "2001:db8::2": "192.0.2.2",
		"10.244.3.255": "192.0.2.3", "192.0.2.3": "192.0.2.3",
		"10.244.1.1": "nobody", "172.16.1.1": "nobody", "192.0.2.1": "nobody", "fd00:0:0:1::1": "nobody", "2001:db8::1": "nobody",
		"10.244.4.1": "nobody", "fd00:0:0:4::1": "nobody", "2001:db8::9": "nobody",
		"0.0.0.0": "nobody", "0.1.2.3": "nobody", "127.0.0.1": "nobody", "169.254.1.1": "nobody", "224.0.0.1": "nobody",
		"239.1.2.3": "nobody", "240.0.0.1": "nobody", "255.255.255.255": "nobody",
		"::": "nobody", "::1": "nobody", "fe80::1": "nobody", "ff02::1": "nobody", "::ffff:10.244.2.1": "nobody", "::ffff:192.0.2.9": "nobody",
		"192.0.2.9": "outsider", "10.245.0.1": "outsider", "100.64.0.1": "outsider", "fd00:0:1::1": "outsider", "2001:db8::3": "outsider",
	} {
		got := ""
		switch r := table.owner(addr(source)); r {
		case nobody:
			got = "nobody"
		case outsider:
			got = "outsider"
		default:
			got = r.addr.String()
		}
		if got != want {
			t.Errorf("%s is the source of %s, want %s", source, got, want)
		}
	}
}
