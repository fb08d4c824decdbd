package endpoints

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// pair is a cluster of two nodes with a bound subnet each, which report 192.0.2.1 and 192.0.2.2; nothing is published yet.
func pair() Input {
	in := Input{Backend: v1alpha1.BackendVXLAN, Settled: true, Cluster: plan.Cluster{
		Nodes: map[string]plan.Node{}, NodeNetworks: map[string]plan.NodeNetwork{}, Leases: map[netip.Prefix]plan.Lease{},
	}}
	for i, name := range []string{"n1", "n2"} {
		ip := addr([]string{"192.0.2.1", "192.0.2.2"}[i])
		p := netip.MustParsePrefix([]string{"10.244.1.0/24", "10.244.2.0/24"}[i])
		in.Cluster.Nodes[name] = plan.Node{Name: name, InternalIPs: []netip.Addr{ip}}
		in.Cluster.NodeNetworks[name] = plan.NodeNetwork{
			Name: name, Subnets: []plan.Subnet{{Prefix: p, State: v1alpha1.SubnetBound}}, VTEP: network.MAC{2, 0, 0, 0, 0, byte(i)},
			Revisions: []plan.Revision{{ID: "a"}}, Transmit: "a",
			Report: plan.Report{Known: true, Current: true, PublicIPs: []netip.Addr{ip}, Prepared: []string{"a"}},
		}
		in.Cluster.Leases[p] = plan.Lease{Prefix: p, Node: name, Held: true}
	}
	return in
}

// change edits a node's NodeNetwork.
func (in Input) change(name string, f func(*plan.NodeNetwork)) {
	n := in.Cluster.NodeNetworks[name]
	f(&n)
	in.Cluster.NodeNetworks[name] = n
}

// publish has a node's lease publish an address already.
func (in Input) publish(name, ip string) {
	for p, l := range in.Cluster.Leases {
		if l.Node == name {
			l.Published, l.Endpoint = true, plan.Endpoint{PublicIPs: []netip.Addr{addr(ip)}, Backend: v1alpha1.BackendAlloc}
			in.Cluster.Leases[p] = l
		}
	}
}

func TestMake(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(Input) Input
		ip      string // what n2's lease publishes; "": nothing
		reason  string
		problem string
	}{
		"good report": {func(in Input) Input { return in }, "192.0.2.2", "Bound", ""},
		"silent": {func(in Input) Input {
			in.change("n2", func(n *plan.NodeNetwork) { n.Report = plan.Report{} })
			return in
		}, "", "Pending", ""},
		"silent after it was published": {func(in Input) Input {
			in.publish("n2", "192.0.2.2")
			in.change("n2", func(n *plan.NodeNetwork) { n.Report = plan.Report{} })
			return in
		}, "192.0.2.2", "Bound", ""},
		"reports of a Node that is gone do not count": {func(in Input) Input {
			in.publish("n2", "192.0.2.2")
			in.change("n2", func(n *plan.NodeNetwork) {
				n.Report.Known, n.Report.PublicIPs = false, []netip.Addr{addr("192.0.2.77")}
			})
			return in
		}, "192.0.2.2", "Bound", ""},
		"first report about an older spec": {func(in Input) Input {
			in.change("n2", func(n *plan.NodeNetwork) { n.Report.Current = false })
			return in
		}, "", "Pending", ""},
		"first report without a revision": {func(in Input) Input {
			in.change("n2", func(n *plan.NodeNetwork) { n.Revisions = append(n.Revisions, plan.Revision{ID: "b"}) })
			return in
		}, "", "Pending", ""},
		"later report about an older spec": {func(in Input) Input {
			in.publish("n2", "192.0.2.9")
			in.change("n2", func(n *plan.NodeNetwork) { n.Report.Current = false })
			return in
		}, "192.0.2.2", "Bound", ""},
		"not its address": {func(in Input) Input {
			in.change("n2", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("198.51.100.1")} })
			return in
		}, "", "PublicIPRejected", "PublicIPRejected"},
		"not its address, after a good one": {func(in Input) Input {
			in.publish("n2", "192.0.2.2")
			in.change("n2", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("198.51.100.1")} })
			return in
		}, "192.0.2.2", "Bound", "PublicIPRejected"},
		"its external address": {func(in Input) Input {
			n := in.Cluster.Nodes["n2"]
			n.ExternalIPs = []netip.Addr{addr("198.51.100.1")}
			in.Cluster.Nodes["n2"] = n
			in.change("n2", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("198.51.100.1")} })
			return in
		}, "198.51.100.1", "Bound", ""},
		"another node's, published": {func(in Input) Input {
			in.publish("n1", "192.0.2.2")
			return in
		}, "", "DuplicatePublicIP", "DuplicatePublicIP"},
		"another node's, reported in the same pass": {func(in Input) Input {
			n := in.Cluster.Nodes["n1"]
			n.InternalIPs = append(n.InternalIPs, addr("192.0.2.2"))
			in.Cluster.Nodes["n1"] = n
			in.change("n1", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("192.0.2.2")} })
			return in
		}, "", "DuplicatePublicIP", "DuplicatePublicIP"},
		"of a node that is gone": {func(in Input) Input {
			in.publish("n1", "192.0.2.2")
			delete(in.Cluster.Nodes, "n1")
			return in
		}, "192.0.2.2", "Bound", ""},
		"deleted in use": {func(in Input) Input {
			p := netip.MustParsePrefix("10.244.2.0/24")
			l := in.Cluster.Leases[p]
			l.Deleting = true
			in.Cluster.Leases[p] = l
			return in
		}, "192.0.2.2", "InUse", ""},
		"draining": {func(in Input) Input {
			in.change("n2", func(n *plan.NodeNetwork) {
				n.Subnets = []plan.Subnet{{Prefix: n.Subnets[0].Prefix, State: v1alpha1.SubnetDraining}}
			})
			return in
		}, "192.0.2.2", "Draining", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Make(tc.change(pair()))
			s := got.Leases[netip.MustParsePrefix("10.244.2.0/24")]
			ip := ""
			if s.Published && len(s.Endpoint.PublicIPs) > 0 {
				ip = s.Endpoint.PublicIPs[0].String()
			}
			if ip != tc.ip || s.Reason != tc.reason || s.Message == "" {
				t.Errorf("got %q %s (%s), want %q %s", ip, s.Reason, s.Message, tc.ip, tc.reason)
			}
			if p := got.Problems["n2"]; p.Reason != tc.problem {
				t.Errorf("problem %+v, want %q", p, tc.problem)
			}
			if s.Published && s.Endpoint.VTEP != (network.MAC{2, 0, 0, 0, 0, 1}) {
				t.Errorf("VTEP %s", s.Endpoint.VTEP)
			}
		})
	}
}

// TestMakeAdmits: a node is published for the first time only when the rollout admits it; later its address may change.
func TestMakeAdmits(t *testing.T) {
	in := pair()
	in.Admit = map[string]bool{"n1": true}
	in.publish("n1", "192.0.2.9")
	got := Make(in).Leases
	if s := got[netip.MustParsePrefix("10.244.1.0/24")]; !s.Published || s.Endpoint.PublicIPs[0] != addr("192.0.2.1") {
		t.Errorf("a published node: %+v", s)
	}
	if s := got[netip.MustParsePrefix("10.244.2.0/24")]; s.Published || s.Reason != v1alpha1.ReasonPending {
		t.Errorf("a node that is not admitted: %+v", s)
	}
	in.Admit["n2"] = true
	if s := Make(in).Leases[netip.MustParsePrefix("10.244.2.0/24")]; !s.Published {
		t.Errorf("an admitted node: %+v", s)
	}
}

// TestNodeNetworkMissing: somebody deleted it, alone or with its CRD; what its node's leases publish stays as it is.
func TestNodeNetworkMissing(t *testing.T) {
	p := netip.MustParsePrefix("10.244.2.0/24")
	for name, tc := range map[string]struct {
		change func(Input, *plan.Lease)
		reason string // "": nothing is said
	}{
		"alone":           {func(Input, *plan.Lease) {}, "Bound"},
		"with its CRD":    {func(_ Input, l *plan.Lease) { l.Deleting = true }, "InUse"},
		"while changing":  {func(in Input, _ *plan.Lease) { in.Settled = false }, "Bound"},
		"with its Node":   {func(in Input, _ *plan.Lease) { delete(in.Cluster.Nodes, "n2") }, ""},
		"released":        {func(_ Input, l *plan.Lease) { l.ReleasedAt = time.Unix(1, 0) }, ""},
		"never published": {func(_ Input, l *plan.Lease) { l.Published = false }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := pair()
			in.publish("n2", "192.0.2.2")
			l := in.Cluster.Leases[p]
			l.Endpoint.VTEP = network.MAC{2, 0, 0, 0, 0, 9}
			tc.change(in, &l)
			in.Cluster.Leases[p] = l
			delete(in.Cluster.NodeNetworks, "n2")
			s, said := Make(in).Leases[p]
			if said != (tc.reason != "") || said && (!s.Published || s.Reason != tc.reason || !s.Endpoint.Equal(l.Endpoint)) {
				t.Errorf("got %+v (%v), want reason %q and the endpoint of %+v", s, said, tc.reason, l)
			}
		})
	}
}

func TestIntendedIsNotPublished(t *testing.T) {
	in := pair()
	in.change("n2", func(n *plan.NodeNetwork) { n.Subnets[0].State = v1alpha1.SubnetIntended })
	if s, ok := Make(in).Leases[netip.MustParsePrefix("10.244.2.0/24")]; ok {
		t.Errorf("an intended subnet publishes %+v", s)
	}
}

// TestBackendType: the type is written once a change is over.
func TestBackendType(t *testing.T) {
	in := pair()
	in.publish("n2", "192.0.2.2") // with the type alloc
	p := netip.MustParsePrefix("10.244.2.0/24")
	in.Settled = false
	if got := Make(in).Leases[p].Endpoint.Backend; got != v1alpha1.BackendAlloc {
		t.Errorf("while changing: %s, want what it was", got)
	}
	in.Settled = true
	if got := Make(in).Leases[p].Endpoint.Backend; got != v1alpha1.BackendVXLAN {
		t.Errorf("afterwards: %s, want vxlan", got)
	}
}

// TestOneAddressOneNode: swapping reports never has two nodes publish one address.
func TestOneAddressOneNode(t *testing.T) {
	in := pair()
	in.publish("n1", "192.0.2.1")
	in.publish("n2", "192.0.2.2")
	for _, name := range []string{"n1", "n2"} {
		n := in.Cluster.Nodes[name]
		n.InternalIPs = []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}
		in.Cluster.Nodes[name] = n
	}
	in.change("n1", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("192.0.2.2")} })
	in.change("n2", func(n *plan.NodeNetwork) { n.Report.PublicIPs = []netip.Addr{addr("192.0.2.1")} })
	got := Make(in)
	if a, b := got.Leases[netip.MustParsePrefix("10.244.1.0/24")].Endpoint, got.Leases[netip.MustParsePrefix("10.244.2.0/24")].Endpoint; a.PublicIPs[0] == b.PublicIPs[0] {
		t.Errorf("both publish %s", a.PublicIPs[0])
	}
	if len(got.Problems) != 2 || !strings.Contains(got.Problems["n1"].Message, "n2") {
		t.Errorf("problems %v", got.Problems)
	}
}
