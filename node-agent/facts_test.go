package nodeagent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// TestUnderlayOfASecondaryAddress: a Node's address may be the second one of its subnet on the interface, as while an address
// is replaced, or with a spare one configured first.
func TestUnderlayOfASecondaryAddress(t *testing.T) {
	nstest.Enter(t)
	nstest.Run(t, "ip link add eth0 type veth peer name other")
	nstest.Run(t, "ip link set eth0 up")
	nstest.Run(t, "ip addr add 172.30.0.11/24 dev eth0")
	nstest.Run(t, "ip addr add 172.30.0.77/24 dev eth0")
	kernel, err := dataplane.NewNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	for _, internal := range []string{"172.30.0.11", "172.30.0.77"} {
		facts, err := readFacts(kernel, network.InterfaceSelection{}, addrs(internal), func(netlink.Link) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(addrs(internal), facts.Underlay.Addrs, cmpopts.EquateComparable(addrs(internal)[0])); diff != "" {
			t.Errorf("underlay of a Node with %s (-want +got):\n%s", internal, diff)
		}
	}
}
