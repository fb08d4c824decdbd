package desired

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	vxlan   = network.Backend{Type: v1alpha1.BackendVXLAN, VNI: 1, Port: 8472, DirectRouting: v1alpha1.DirectRoutingNever}
	onLink  = network.Backend{Type: v1alpha1.BackendVXLAN, VNI: 1, Port: 8472, DirectRouting: v1alpha1.DirectRoutingOnLink}
	vxlan7  = network.Backend{Type: v1alpha1.BackendVXLAN, VNI: 7, Port: 4789, DirectRouting: v1alpha1.DirectRoutingNever}
	hostGW  = network.Backend{Type: v1alpha1.BackendHostGW}
	alloc   = network.Backend{Type: v1alpha1.BackendAlloc}
	udp     = network.Backend{Type: v1alpha1.BackendUDP, Port: 8285}
	verify  = network.Backend{Type: v1alpha1.BackendVXLAN, VNI: 1, Port: 8472, DirectRouting: v1alpha1.DirectRoutingVerified}
	peerMAC = network.MAC{2, 0, 0, 0, 0, 2}
)

// input is node n1 with peer n2 on its segment and peer n3 behind a router.
func input(backends ...network.Backend) Input {
	in := Input{
		Node: network.Node{
			Name:        "n1",
			Subnets:     []network.NodeSubnet{{Prefix: netip.MustParsePrefix("10.244.1.0/24")}},
			PodNetworks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
			VTEP:        network.MAC{2, 0, 0, 0, 0, 1},
			Masquerade:  network.Masquerade{Enabled: true, NodePortMark: 0x4000},
			CNI:         network.CNI{Bridge: "cni0", Hairpin: true, PortMappings: true, Conflist: true},
		},
		Peers: []network.Lease{
			peer("n3", "10.244.3.0/24", "172.30.3.13", network.MAC{2, 0, 0, 0, 0, 3}),
			peer("n2", "10.244.2.0/24", "172.30.0.12", peerMAC),
			peer("n1", "10.244.1.0/24", "172.30.0.11", network.MAC{2, 0, 0, 0, 0, 1}),
		},
		Facts: Facts{
			Underlay: Underlay{Name: "eth0", Addrs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, MTU: 1500},
			OnLink:   []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24")},
			Detours:  []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		},
		Paths: Paths{Handoff: "/run/hopsack/cni.json", Conflist: "/etc/cni/net.d/05-hopsack.conflist", SubnetEnv: "/run/flannel/subnet.env"},
	}
	for i, b := range backends {
		in.Node.Revisions = append(in.Node.Revisions, network.Revision{ID: string(rune('a' + i)), Backend: b})
	}
	in.Node.Transmit = &in.Node.Revisions[0]
	return in
}

func peer(node, subnet, ip string, mac network.MAC) network.Lease {
	return network.Lease{
		Node: node, Subnet: netip.MustParsePrefix(subnet), PublicIPs: []netip.Addr{netip.MustParseAddr(ip)}, VTEP: mac, Routable: true,
	}
}

func TestComputeGolden(t *testing.T) {
	for name, tc := range map[string]struct {
		in     Input
		change func(*Input)
	}{
		"vxlan":             {in: input(vxlan)},
		"vxlan-onlink":      {in: input(onLink)},
		"host-gw":           {in: input(hostGW)},
		"alloc":             {in: input(alloc)},
		"two-revisions":     {in: input(vxlan, vxlan7, onLink)},
		"no-masquerade":     {in: input(vxlan), change: func(in *Input) { in.Node.Masquerade.Enabled = false }},
		"configured-mtu":    {in: input(onLink), change: func(in *Input) { in.Node.Revisions[0].MTU = 1400 }},
		"udp":               {in: input(udp)},
		"verified":          {in: input(verify)},
		"verified-proven":   {in: input(verify), change: proven},
		"vxlan-to-verified": {in: input(vxlan, verify), change: proven},
		"verified-to-vxlan": {in: input(verify, vxlan7), change: proven},
		"vxlan-to-udp":      {in: input(vxlan, udp)},
		"udp-to-host-gw":    {in: input(udp, hostGW)},
		"host-gw-to-vxlan":  {in: input(hostGW, vxlan)},
		"vxlan-to-alloc":    {in: input(vxlan, alloc), change: cloudRoutes},
		"alloc-to-onlink":   {in: input(alloc, onLink), change: cloudRoutes},
		"mtu-only":          {in: input(vxlan, vxlan), change: func(in *Input) { in.Node.Revisions[1].MTU = 1300 }},
		"draining": {in: input(vxlan), change: func(in *Input) {
			in.Node.Subnets = append([]network.NodeSubnet{{Prefix: netip.MustParsePrefix("10.244.9.0/24"), Draining: true}}, in.Node.Subnets...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(&tc.in)
			}
			state, problems := Compute(tc.in)
			got := state.String()
			for _, p := range problems {
				got += "problem " + p.Reason + ": " + p.Message + "\n"
			}
			golden(t, name, got)
		})
	}
}

// proven says that the direct path to n2 is proven in the first revision; to n3, behind the router, it cannot be.
func proven(in *Input) {
	in.Direct = map[string]map[string]bool{in.Node.Revisions[0].ID: {"n2": true, "n3": true}}
}

// cloudRoutes are those of a host in a cloud that routes pods: n2's own, and for the rest the default one.
func cloudRoutes(in *Input) {
	gw := netip.MustParseAddr("172.30.0.1")
	in.Facts.Others = []OtherRoute{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Metric: 200, Device: "eth1"},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Metric: 100, Device: "eth0", Gateway: gw},
		{Prefix: netip.MustParsePrefix("10.244.2.0/24"), Device: "eth0", Gateway: netip.MustParseAddr("172.30.0.12")},
		{Prefix: netip.MustParsePrefix("172.30.0.0/24"), Device: "eth0"},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("state differs from %s (-want +got):\n%s", path, diff)
	}
}

// A route before its exemption, or a state that depends on the order of the leases, would make nodes flap.
func TestComputeIgnoresTheOrderOfPeers(t *testing.T) {
	in := input(vxlan)
	first, _ := Compute(in)
	for range 20 {
		rand.Shuffle(len(in.Peers), func(i, j int) { in.Peers[i], in.Peers[j] = in.Peers[j], in.Peers[i] })
		again, _ := Compute(in)
		if diff := cmp.Diff(first.String(), again.String()); diff != "" {
			t.Fatalf("state depends on the order of peers:\n%s", diff)
		}
	}
}

func TestComputeSaysWhatIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Input)
		want   string
	}{
		"subnet":    {func(in *Input) { in.Node.Subnets = nil }, v1alpha1.ReasonWaitingForSubnet},
		"draining":  {func(in *Input) { in.Node.Subnets[0].Draining = true }, v1alpha1.ReasonWaitingForSubnet},
		"transmit":  {func(in *Input) { in.Node.Transmit = nil }, v1alpha1.ReasonWaitingForSubnet},
		"interface": {func(in *Input) { in.Facts.Underlay = Underlay{} }, v1alpha1.ReasonNoInterface},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(vxlan)
			tc.change(&in)
			state, problems := Compute(in)
			if len(problems) != 1 || problems[0].Reason != tc.want {
				t.Errorf("problems = %v, want one with reason %s", problems, tc.want)
			}
			if diff := cmp.Diff("", state.String()); diff != "" {
				t.Errorf("state is not empty:\n%s", diff)
			}
		})
	}
}

func TestComputeDistrustsPeers(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Input)
		want   string
		left   string // the one peer that is reached
	}{
		"same VTEP address": {func(in *Input) { in.Peers[0].VTEP = peerMAC }, v1alpha1.ReasonPeerUnreachable, "10.244.2.0/24"},
		"no VTEP address":   {func(in *Input) { in.Peers[1].VTEP = network.MAC{} }, v1alpha1.ReasonPeerUnreachable, "10.244.3.0/24"},
		"other family":      {func(in *Input) { in.Peers[1].PublicIPs[0] = netip.MustParseAddr("fd00::2") }, v1alpha1.ReasonPeerUnreachable, "10.244.3.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(vxlan)
			tc.change(&in)
			state, problems := Compute(in)
			if len(problems) != 1 || problems[0].Reason != tc.want {
				t.Errorf("problems = %v, want one with reason %s", problems, tc.want)
			}
			if len(state.FDB) != 1 {
				t.Errorf("state has %d FDB entries, want only the other peer's", len(state.FDB))
			}
			for _, p := range []string{"10.244.2.0/24", "10.244.3.0/24"} {
				if _, routed := state.Routes[netip.MustParsePrefix(p)]; routed != (p == tc.left) {
					t.Errorf("%s is routed: %t, want only %s", p, routed, tc.left)
				}
			}
		})
	}
}

// A more specific route through a gateway beats the segment: such a peer is not on link.
func TestOnLinkFollowsTheLongestPrefix(t *testing.T) {
	in := input(onLink)
	in.Facts.Detours = append(in.Facts.Detours, netip.MustParsePrefix("172.30.0.12/32"))
	state, _ := Compute(in)
	if got := state.Routes[netip.MustParsePrefix("10.244.2.0/24")].Device; got != "hs1-8472" {
		t.Errorf("peer behind a host route goes through %q, want hs1-8472", got)
	}
}

func TestTunnelNameFits(t *testing.T) {
	for _, tc := range []struct {
		vni  uint32
		port uint16
		want string
	}{{1, 8472, "hs1-8472"}, {16777215, 9999, "hs16777215-9999"}, {16777215, 65535, "h16777215-65535"}} {
		if got := TunnelName(tc.vni, tc.port); got != tc.want || len(got) > 15 {
			t.Errorf("TunnelName(%d, %d) = %q, want %q", tc.vni, tc.port, got, tc.want)
		}
	}
}
