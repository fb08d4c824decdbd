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
