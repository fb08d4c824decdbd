package dataplane_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// A first pass makes everything, a second nothing, one for a node without hopsack removes it all and leaves the rest alone.
func TestSyncFromNothingToNothing(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	before := nstest.Run(t, "ip -o addr show") + nstest.Run(t, "ip route show table all type unicast") + nstest.Run(t, "nft list tables")
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2, 3)
	want.Loose["eth0"] = struct{}{}
	nstest.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=1")

	r := sync(t, d, want)
	if len(r.Problems) > 0 {
		t.Errorf("got problems %v, want none", r.Problems)
	}
	wantChanges := dataplane.Changes{"link": 7, "address": 2, "sysctl": 2, "firewall": 3, "fdb": 2, "neigh": 2, "route": 3, "file": 2}
	if diff := cmp.Diff(wantChanges, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	contains(t, "ip -d link show "+tunnel, "vxlan id 1", "local 172.30.0.1", "dstport 8472", "nolearning", "noudpcsum")
	contains(t, "ip -d link show "+tunnel, "alias hopsack")
	contains(t, "ip addr show cni0", "10.64.1.1/24", "scope global", "cni0:hs")
	contains(t, "ip route", "10.64.2.0/24 via 10.64.2.0 dev hs1-8472 proto 104", "src 10.64.1.1", "onlink", "mtu 1450")
	contains(t, "ip route", "unreachable 10.64.0.0/10 proto 104")
	contains(t, "ip neigh show dev "+tunnel, "10.64.3.0 lladdr 02:00:00:00:00:03 PERMANENT")
	contains(t, "bridge fdb show dev "+tunnel, "02:00:00:00:00:03 dst 172.30.0.3 self permanent")
	contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= 2")
	contains(t, "iptables-nft -S FORWARD", "-A FORWARD -s 10.64.0.0/10 -m comment --comment hopsack -j ACCEPT")
	settled(t, d, want)
	// Another process finds its work in the kernel; only the table it writes again, as nothing there tells what made it.
	d = newDataplane(t, o)
	if got := sync(t, d, want).Changes.String(); got != "firewall=1" {
		t.Errorf("first sync of another process: got changes %q, want firewall=1", got)
	}

	got, err := d.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Tables)+len(got.Rules) > 0 {
		t.Errorf("dump has tables %v and rules %v", got.Tables, got.Rules)
	}
	got.Tables, got.Rules = nil, nil
	got.Loose, got.Sysctls, got.Firewall, got.Files = want.Loose, want.Sysctls, want.Firewall, want.Files
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}

	sync(t, d, desired.State{})
	after := nstest.Run(t, "ip -o addr show") + nstest.Run(t, "ip route show table all type unicast") + nstest.Run(t, "nft list tables")
	if diff := cmp.Diff(before+"table ip filter\n", after); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= 0")
	contains(t, "sysctl net.ipv4.ip_forward", "= 0")
	files, _ := filepath.Glob(filepath.Join(o.StateDir, "*"))
	if diff := cmp.Diff([]string{filepath.Join(o.StateDir, "run")}, files); diff != "" {
		t.Errorf("files left (-want +got):\n%s", diff)
	}
	settled(t, d, desired.State{})
}

// What exists and differs is changed where it is: entries and routes on the device survive.
func TestLinkChangesInPlace(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2)
	sync(t, d, want)
	l := want.Links[tunnel]
	l.Local, l.MAC, l.MTU = addr("172.30.0.77"), vtep(99), 1400
	want.Links[tunnel] = l
	nstest.Run(t, "ip link set "+tunnel+" alias other")
	nstest.Run(t, "ip link set "+tunnel+" type vxlan learning")
	r := sync(t, d, want)
	// The kernel flushes a device's ARP entries when its MAC changes; the FDB and the routes stay.
	if diff := cmp.Diff(dataplane.Changes{"link": 5, "neigh": 1}, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	contains(t, "ip -d link show "+tunnel, "local 172.30.0.77", "nolearning")
	settled(t, d, want)
}

// A device that cannot become the wanted one makes room for it when it is hopsack's, and is left alone when it is not.
func TestLinksInTheWay(t *testing.T) {
	for name, tc := range map[string]struct {
		setup   string
		problem string // "" means that hopsack takes the place
	}{
		"flannel's device holds VNI and port": {
			"ip link add flannel.1 type vxlan id 1 dstport 8472 local 172.30.0.1 dev eth0 nolearning",
			"device flannel.1 holds VNI 1 on UDP port 8472, which hopsack needs: delete it, or choose another VNI or port",
		},
		"foreign device has the name": {
			"ip link add hs1-8472 type bridge",
			"device hs1-8472 is a bridge that is not hopsack's, and hopsack needs the name",
		},
		"own device was renamed":               {setup: "ip link add x type vxlan id 1 dstport 8472\nip link set x alias hopsack"},
		"own device was never marked":          {setup: "ip link add hs1-8472 type vxlan id 1 dstport 8472"},
		"own device is bound to a lower one":   {setup: "ip link add hs1-8472 type vxlan id 1 dstport 8472 dev eth0"},
		"own device has another VNI":           {setup: "ip link add hs1-8472 type vxlan id 9 dstport 8472\nip link set hs1-8472 alias hopsack"},
		"own device has another family":        {setup: "ip link add hs1-8472 type vxlan id 1 dstport 8472 local fd00::1"},
		"bridge that somebody else left there": {setup: "ip link add cni0 type bridge\nip link set cni0 mtu 1400 up"},
		"device of hopsack that nobody wants":  {setup: "ip link add hs7-4789 type vxlan id 7 dstport 4789\nip link set hs7-4789 up"},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			withUnderlay(t)
			for line := range strings.Lines(tc.setup) {
				nstest.Run(t, line)
			}
			o := options(t)
			d := newDataplane(t, o)
			want := nodeState(o.StateDir, 1, 2)
			r, err := d.Sync(context.Background(), want, false)
			if err != nil {
				t.Fatalf("got error %v, want none: what a person must see to is a problem", err)
			}
			if tc.problem == "" {
				if len(r.Problems) > 0 {
					t.Fatalf("got problems %v, want none", r.Problems)
				}
				contains(t, "ip -d link show "+tunnel, "vxlan id 1 local 172.30.0.1", "nolearning")
				contains(t, "ip route", "10.64.2.0/24 via 10.64.2.0 dev hs1-8472")
				contains(t, "ip link show cni0", "mtu 1500")
				if strings.Contains(nstest.Run(t, "ip link"), "hs7-4789") {
					t.Error("hs7-4789 is still there")
				}
				settled(t, d, want)
				return
			}
			if diff := cmp.Diff([]desired.Problem{{Reason: v1alpha1.ReasonForeignDevice, Message: tc.problem}}, r.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			contains(t, "ip route", "unreachable 10.64.0.0/10") // what does not need the device is made
			contains(t, "ip addr show cni0", "10.64.1.1/24")
			if _, err := os.Stat(want.Files[1].Path); err == nil {
				t.Error("the hand-off was written without a tunnel")
			}
			nstest.Run(t, "ip link del "+strings.Fields(tc.setup)[3])
			sync(t, d, want)
			settled(t, d, want)
		})
	}
}

// Ports that join do not change the bridge's MAC and MTU.
func TestBridgeKeepsItsMACAndMTU(t *testing.T) {
	for _, mtu := range []int{1500, 1400, 9000} {
		nstest.Enter(t)
		withUnderlay(t)
		o := options(t)
		d := newDataplane(t, o)
		want := nodeState(o.StateDir, 1)
		want.Links["cni0"] = desired.Link{Kind: desired.KindBridge, MAC: network.MAC{6, 0, 0, 0, 0, 1}, MTU: mtu}
		sync(t, d, want)
		nstest.Run(t, "ip link add p0 address 00:00:00:00:00:01 mtu 1280 type veth peer name p1")
		nstest.Run(t, "ip link set p0 master cni0 up")
		settled(t, d, want)
	}
}

// An address that somebody else gave the bridge is said and kept; one of hopsack's earlier subnets goes.
func TestForeignBridgeAddress(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	nstest.Run(t, "ip link add cni0 type bridge")
	nstest.Run(t, "ip addr add 10.99.0.1/24 dev cni0")
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1)
	old := desired.AddrKey{Device: "cni0", Prefix: prefix("10.77.0.1/24")}
	want.Addrs[old] = desired.ScopeGlobal
	sync(t, d, want)
	delete(want.Addrs, old)
	r := sync(t, d, want)
	if diff := cmp.Diff(dataplane.Changes{"address": 1}, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	problem := desired.Problem{Reason: v1alpha1.ReasonForeignDevice, Message: "bridge cni0 carries 10.99.0.1/24, which is not hopsack's: remove it once no pod uses it"}
	if diff := cmp.Diff([]desired.Problem{problem}, r.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	contains(t, "ip addr show cni0", "10.99.0.1/24")
	settled(t, d, want)
}
