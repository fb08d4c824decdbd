package probe

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// IPv6 is proven and diagnosed like IPv4.
func TestIPv6(t *testing.T) {
	w := newWorld(t)
	for i := 1; i <= 2; i++ {
		w.in(w.nodes[i], fmt.Sprintf("ip addr add fd01::1%d/64 dev eth0 nodad", i), fmt.Sprintf("ip addr add fd00:%d::1/64 dev cni0 nodad", i),
			"sysctl -qw net.ipv6.conf.all.forwarding=1", fmt.Sprintf("ip route add fd00:%d::/64 via fd01::1%d", 3-i, 3-i))
	}
	w.in(w.nodes[1], "ping -c1 -w5 -i0.2 fd01::12") // the underlay takes its time to find duplicate addresses
	for i := 1; i <= 2; i++ {
		w.prober(i, func(c *Config) {
			c.Address = netip.MustParsePrefix(fmt.Sprintf("fd00:%d::2/64", i))
			c.Gateway = netip.MustParseAddr(fmt.Sprintf("fd00:%d::1", i))
			c.Paths = []Path{{Port: 10400, MTU: 1500}, {Name: directPath, Port: 10402, MTU: 1500}}
			c.Peers = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", 3-i))}
		})
	}
	peer := Target{Pod: netip.MustParseAddr("fd00:2::2"), Gateway: netip.MustParseAddr("fd00:2::1"), Underlay: netip.MustParseAddr("fd01::12"), Direct: true}
	ask := func() (Answer, Finding) {
		a := w.probers[1].Ask(t.Context(), directPath, peer)
		return a, w.probers[1].Diagnose(t.Context(), directPath, peer, a)
	}
	if a, f := ask(); !a.OK || f != (Finding{}) {
		t.Errorf("got %+v, %+v", a, f)
	}
	w.nft(w.underlay, "bridge", "forward udp sport 10402 drop")
	_, got := ask()
	if diff := cmp.Diff(Finding{v1alpha1.ProbePodAddressesDropped, "answers for the node but drops pod addresses"}, got); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
}
