package desired

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
)

// A probe must take exactly the way that packets of the revision would: the same device, gateway, source and mtu.
func TestProbesGoTheWayOfTheRevision(t *testing.T) {
	for _, b := range []network.Backend{vxlan, vxlan7, onLink, hostGW, udp} {
		t.Run(fmt.Sprintf("%s %s", b.Type, b.DirectRouting), func(t *testing.T) {
			before, _ := Compute(input(vxlan, b))
			after, _ := Compute(input(b, vxlan))
			for _, p := range after.Probes[0].Targets {
				want, routed := after.Routes[p.Subnet]
				table := tableOf(t, before, "b", ProbeRoutes)
				got, found := table[probedPrefix(p.Subnet)]
				if found != routed || got != want {
					t.Errorf("probe to %s goes %v (%t), the revision goes %v (%t)", p.Subnet, got, found, want, routed)
				}
				if routed != (p.NoPath == "") {
					t.Errorf("%s is routed: %t, but why not: %q", p.Subnet, routed, p.NoPath)
				}
			}
		})
	}
}

func tableOf(t *testing.T, s State, revision string, kind ProbeKind) map[netip.Prefix]Route {
	t.Helper()
	for _, p := range s.Probes {
		if p.Revision == revision && p.Kind == kind {
			rule := Rule{Source: netip.MustParseAddr("10.244.1.2"), Port: p.Port, Table: p.Table}
			if _, ok := s.Rules[rule]; !ok {
				t.Errorf("no rule leads to table %d", p.Table)
			}
			return s.Tables[p.Table]
		}
	}
	t.Fatalf("no probe %s/%s", revision, kind)
	return nil
}

// An address that is answered and pods' addresses that are not look alike until a pod's address is asked.
func TestDirectOnlyWhereProven(t *testing.T) {
	in := input(verify)
	n2 := netip.MustParsePrefix("10.244.2.0/24")
	for name, tc := range map[string]struct {
		direct map[string]map[string]bool
		want   string
	}{
		"unproven":            {nil, "hs1-8472"},
		"proven":              {map[string]map[string]bool{"a": {"n2": true}}, "eth0"},
		"of another revision": {map[string]map[string]bool{"b": {"n2": true}}, "hs1-8472"},
		"of another node":     {map[string]map[string]bool{"a": {"n3": true}}, "hs1-8472"},
	} {
		t.Run(name, func(t *testing.T) {
			in.Direct = tc.direct
			s, _ := Compute(in)
			if got := s.Routes[n2].Device; got != tc.want {
				t.Errorf("n2 is sent to by %s, want %s", got, tc.want)
			}
			for _, target := range s.Probes[0].Targets {
				if target.Direct != (s.Routes[target.Subnet].Device == "eth0") {
					t.Errorf("probe of %s says direct %t, its route is %v", target.Node, target.Direct, s.Routes[target.Subnet])
				}
			}
			if got := tableOf(t, s, "a", ProbeRoutes)[probedPrefix(n2)].Device; got != "hs1-8472" {
				t.Errorf("the encapsulated path goes by %s", got)
			}
			if got := tableOf(t, s, "a", ProbeDirect)[probedPrefix(n2)].Device; got != "eth0" {
				t.Errorf("the direct path goes by %s", got)
			}
		})
	}
}

func TestOneTargetPerNode(t *testing.T) {
	in := input(vxlan)
	in.Peers = append(in.Peers, peer("n2", "10.244.0.0/24", "172.30.0.12", peerMAC), peer("n4", "10.244.4.0/30", "172.30.0.14", network.MAC{2, 4}))
	s, _ := Compute(in)
	var got []string
	for _, target := range s.Probes[0].Targets {
		reserved, ok := handoff.ReservedAddress(target.Subnet)
		if !ok || !probedPrefix(target.Subnet).Contains(reserved) || !probedPrefix(target.Subnet).Contains(network.Gateway(target.Subnet)) {
			t.Errorf("%s is not reached", target.Subnet)
		}
		got = append(got, target.Node+" "+target.Subnet.String())
	}
	if want := "[n2 10.244.0.0/24 n3 10.244.3.0/24]"; fmt.Sprint(got) != want {
		t.Errorf("targets are %v, want %s", got, want)
	}
}

// The paths of one revision stay where they are while others come and go, and never share a table.
func TestSlots(t *testing.T) {
	moved, total := 0, 0
	for i := range 200 {
		all := []network.Revision{{ID: fmt.Sprintf("%08x", i*7919)}, {ID: fmt.Sprintf("%08x", i*104729+1)}, {ID: fmt.Sprintf("%08x", i*1299709+2)}}
		slots := assignSlots(all)
		seen := map[int]bool{}
		for id, slot := range slots {
			if seen[slot] || slot < 0 || slot >= probeSlots {
				t.Fatalf("revisions %v: slot %d of %s is taken or out of range", all, slot, id)
			}
			seen[slot] = true
		}
		total++
		if fewer := assignSlots(all[:2]); fewer[all[0].ID] != slots[all[0].ID] {
			moved++
		}
	}
	if moved*4 > total {
		t.Errorf("a third revision moved the first in %d of %d cases", moved, total)
	}
}

// The mtu of pods, of the hand-off and of subnet.env is what fits the revision that is sent with, not those received.
func TestPodMTUFollowsWhatIsSent(t *testing.T) {
	for _, tc := range []struct {
		backends []network.Backend
		want     int
	}{
		{[]network.Backend{vxlan, udp, hostGW}, 1450},
		{[]network.Backend{udp, vxlan}, 1472},
		{[]network.Backend{hostGW, vxlan}, 0},
		{[]network.Backend{onLink, hostGW}, 1450},
		{[]network.Backend{alloc, vxlan}, 0},
	} {
		s, _ := Compute(input(tc.backends...))
		if s.PodMTU != tc.want {
			t.Errorf("%v: pods' mtu is %d, want %d", tc.backends[0], s.PodMTU, tc.want)
		}
	}
}

// Two kinds of tunnels cannot have one UDP port: the revision in use keeps it, and the other one's verification says why.
func TestOnePortOneTunnel(t *testing.T) {
	sameUDP := network.Backend{Type: v1alpha1.BackendUDP, Port: 8472}
	for name, tc := range map[string]struct {
		backends []network.Backend
		device   string
		gone     string
	}{
		"vxlan in use": {[]network.Backend{vxlan, sameUDP}, "hs1-8472", "hsu8472"},
		"udp in use":   {[]network.Backend{sameUDP, vxlan}, "hsu8472", "hs1-8472"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := Compute(input(tc.backends...))
			if _, found := s.Links[tc.gone]; found || s.Links[tc.device].Kind == "" {
				t.Errorf("devices are %v, want %s without %s", s.Links, tc.device, tc.gone)
			}
			for _, p := range s.Probes {
				for _, target := range p.Targets {
					if (target.NoPath != "") != (p.Revision == "b") {
						t.Errorf("%s/%s to %s: no path %q", p.Revision, p.Kind, target.Node, target.NoPath)
					}
				}
			}
		})
	}
}

// A node's addresses are nobody else's, of whatever family, and those of a node that no tunnel reaches are nobody's at all.
func TestUDPTunnelKnowsWhoseAddressesAre(t *testing.T) {
	addr := netip.MustParseAddr
	in := input(udp)
	in.Node.InternalIPs = []netip.Addr{addr("172.30.0.11"), addr("2001:db8::11")}
	in.Node.PublicIPs = []netip.Addr{addr("198.51.100.11")}
	in.Peers[0].PublicIPs = []netip.Addr{addr("2001:db8::13")}
	in.Peers[1].PublicIPs = append(in.Peers[1].PublicIPs, addr("2001:db8::12"))
	s, _ := Compute(in)
	want := []UDPTunnel{{
		Device: "hsu8285", Port: 8285, Local: addr("172.30.0.11"), MTU: 1472,
		Peers:    []UDPPeer{{netip.MustParsePrefix("10.244.2.0/24"), addr("172.30.0.12"), addr("2001:db8::12")}},
		Subnets:  []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Hosts:    []netip.Addr{addr("172.30.0.11"), addr("198.51.100.11"), addr("2001:db8::11"), addr("2001:db8::13")},
	}}
	if diff := cmp.Diff(want, s.UDPTunnels, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("tunnels (-want +got):\n%s", diff)
	}
}
