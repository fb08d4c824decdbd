package nodeagent

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
	"github.com/hopsack-net/hopsack/node-agent/udp"
)

// A node that was torn down may come back: its prober is another one then.
func TestProberComesBack(t *testing.T) {
	var made []*fakeProber
	p := &lastingProber{make: func() pathProber {
		made = append(made, &fakeProber{})
		return made[len(made)-1]
	}}
	ask := func() bool { return p.Ask(context.Background(), "", probe.Target{Node: "n2"}).OK }
	if ask() || p.Close() != nil {
		t.Error("a prober that was never configured answers, or does not close")
	}
	for round := 1; round <= 2; round++ {
		for range 2 {
			if err := p.Configure(probe.Config{}); err != nil {
				t.Fatal(err)
			}
		}
		if len(made) != round || !ask() {
			t.Errorf("round %d: %d probers, answers: %t", round, len(made), ask())
		}
		if err := p.Close(); err != nil || !made[round-1].closed || ask() {
			t.Errorf("round %d: not closed (%v)", round, err)
		}
	}
}

// The prober gets the node's reserved address, every path by the name that peers know, and the peers' subnets in a stable order.
func TestProbeConfig(t *testing.T) {
	v := newView()
	v.setNode(nodeNetwork())
	v.setLease(own(v1alpha1.ReasonBound), now)
	v.setLease(lease("10.244.3.0-24", "10.244.3.0/24", "n3", "172.30.3.13", v1alpha1.ReasonBound), now)
	v.setLease(bound(), now)
	got, ok := probeConfig(v.take(now), desired.Underlay{Name: "eth0", MTU: 1500}, []desired.Probe{
		{Revision: "a", Kind: desired.ProbeCurrent, Port: 10400, MTU: 1450}, {Revision: "a", Kind: desired.ProbeRoutes, Port: 10401, MTU: 1450, TunnelPort: 8472},
	})
	want := probe.Config{
		Bridge: "cni0", Address: netip.MustParsePrefix("10.244.1.2/24"), Gateway: netip.MustParseAddr("10.244.1.1"), MTU: 1500,
		Paths: []probe.Path{{Port: 10400, MTU: 1450}, {Name: "a/routes", Port: 10401, MTU: 1450, TunnelPort: 8472}},
		Peers: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("10.244.3.0/24")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || !ok {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestTunnelMetrics(t *testing.T) {
	m := newMetrics()
	m.countTunnels(func() []udp.Stat {
		return []udp.Stat{{Device: "hsu8285", In: udp.Traffic{Packets: 1, Bytes: 2}, Out: udp.Traffic{Packets: 3, Bytes: 4}, Dropped: udp.Drops{Stranger: 5}}}
	})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() != "device" {
					got[f.GetName()+" "+l.GetValue()] = one.GetCounter().GetValue()
				}
			}
		}
	}
	for name, want := range map[string]float64{
		"hopsack_agent_udp_packets_total in": 1, "hopsack_agent_udp_bytes_total in": 2, "hopsack_agent_udp_packets_total out": 3,
		"hopsack_agent_udp_bytes_total out": 4, "hopsack_agent_udp_dropped_total stranger": 5,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}
