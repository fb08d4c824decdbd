package rollout

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

func parse(t testing.TB, spec string) network.Config {
	t.Helper()
	c := &v1alpha1.NetworkConfig{}
	if err := yaml.UnmarshalStrict([]byte(spec), &c.Spec); err != nil {
		t.Fatal(err)
	}
	out, err := network.FromAPI(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const base = "network: 10.244.0.0/16\nbackend: {type: vxlan}\n"

// inUseCluster has node n1 with a bound subnet under the base configuration, and what mark makes of its lease.
func inUseCluster(t testing.TB, mark func(*plan.Lease)) plan.Cluster {
	t.Helper()
	c := parse(t, base)
	p := netip.MustParsePrefix("10.244.3.0/24")
	l := plan.Lease{Prefix: p, Node: "n1", Held: true, Published: true}
	if mark != nil {
		mark(&l)
	}
	return plan.Cluster{
		Nodes: map[string]plan.Node{"n1": {Name: "n1", InternalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		NodeNetworks: map[string]plan.NodeNetwork{"n1": {
			Name: "n1", Subnets: []plan.Subnet{{Prefix: p, State: v1alpha1.SubnetBound}}, Networks: c.Networks(), Bridge: "cni0",
			Revisions: []plan.Revision{Target(c)}, Transmit: Target(c).ID,
		}},
		Leases:       map[netip.Prefix]plan.Lease{p: l},
		ServiceCIDRs: []plan.ServiceCIDR{{Name: "kubernetes", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}},
	}
}

func TestAccept(t *testing.T) {
	adopted := func(l *plan.Lease) { l.Adopted = true }
	released := func(l *plan.Lease) { l.ReleasedAt = time.Unix(1, 0) }
	for name, tc := range map[string]struct {
		spec   string
		mark   func(*plan.Lease)
		reason string // "": accepted
		part   string
	}{
		"the same":                      {base, nil, "", ""},
		"directRouting":                 {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {directRouting: OnLink}}", nil, "", ""},
		"bounds around the lease":       {base + "subnetMin: 10.244.3.0\nsubnetMax: 10.244.3.0", nil, "", ""},
		"min beyond an adopted lease":   {base + "subnetMin: 10.244.4.0", adopted, "", ""},
		"min beyond a lease":            {base + "subnetMin: 10.244.4.0", nil, "RangeInUse", "spec.subnetMin: lease 10.244.3.0-24 of node n1"},
		"min beyond a released lease":   {base + "subnetMin: 10.244.4.0", released, "", ""},
		"max before a lease":            {base + "subnetMax: 10.244.2.0", nil, "RangeInUse", "spec.subnetMax: lease 10.244.3.0-24 of node n1"},
		"network":                       {"network: 10.0.0.0/8\nbackend: {type: vxlan}", nil, "InvalidSpec", "overlaps 10.96.0.0/16 of ServiceCIDR kubernetes"},
		"other network":                 {"network: 10.240.0.0/12\nbackend: {type: vxlan}", nil, "RangeInUse", "spec.network: cannot change from 10.244.0.0/16 to 10.240.0.0/12"},
		"subnetLen":                     {base + "subnetLen: 25", nil, "RangeInUse", "spec.subnetLen: cannot change from 24 to 25"},
		"subnetLen, all leases adopted": {base + "subnetLen: 25", adopted, "RangeInUse", "spec.subnetLen: cannot change from 24 to 25"},
		"network of the nodes":          {"network: 192.0.0.0/16\nbackend: {type: vxlan}", nil, "InvalidSpec", "192.0.0.0/16 holds the address 192.0.2.1 of node n1"},
		"bridge":                        {base + "cni: {bridge: br0}", nil, "InvalidSpec", "spec.cni.bridge: cannot change from cni0 to br0"},
		"type":                          {"network: 10.244.0.0/16\nbackend: {type: alloc}", nil, "", ""},
		"two fields":                    {"network: 10.244.0.0/16\nmtu: 1400\nbackend: {type: vxlan, vxlan: {vni: 2}}", nil, "", ""},
		"interface":                     {base + "interface: {canReach: 192.0.2.9}", nil, "NeedsRollout", `spec.interface: cannot change from {} to {"canReach":"192.0.2.9"}`},
		"udp on another port":           {"network: 10.244.0.0/16\nbackend: {type: udp}", nil, "", ""},
		"udp on vxlan's port":           {"network: 10.244.0.0/16\nbackend: {type: udp, udp: {port: 8472}}", nil, "InvalidSpec", "spec.backend.udp.port: UDP port 8472 belongs to vxlan (revision 328e8933)"},
		"another VNI on the same port":  {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 2}}", nil, "", ""},
		"other settings":                {base + "retentionSeconds: 1\nipMasq: {mode: Disabled}\ncni: {hairpinMode: Disabled}\npodCIDRs: Ignore", nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := parse(t, base)
			got := Accept(parse(t, tc.spec), &before, inUseCluster(t, tc.mark))
			switch {
			case tc.reason == "" && got != nil:
				t.Errorf("got %+v, want it accepted", *got)
			case tc.reason != "" && (got == nil || got.Reason != tc.reason || !strings.Contains(got.Message, tc.part)):
				t.Errorf("got %+v, want %s with %q", got, tc.reason, tc.part)
			}
		})
	}
}

// TestAcceptUnused: as long as no node uses a subnet, everything that makes sense may change.
func TestAcceptUnused(t *testing.T) {
	c := inUseCluster(t, nil)
	c.Leases, c.NodeNetworks = nil, nil
	before := parse(t, base)
	for _, spec := range []string{
		"network: 10.128.0.0/16\nsubnetLen: 26\nbackend: {type: host-gw}\nmtu: 1400\ncni: {bridge: br0}\ninterface: {names: [eth1]}",
		base + "subnetMin: 10.244.9.0",
	} {
		if p := Accept(parse(t, spec), &before, c); p != nil {
			t.Errorf("%s: got %+v, want it accepted", spec, *p)
		}
	}
	if p := Accept(parse(t, "network: 192.0.2.0/24\nbackend: {type: vxlan}"), nil, c); p == nil {
		t.Error("a network that holds a node's address is accepted")
	}
}

// TestRecall: what status says counts as long as the objects agree with it.
func TestRecall(t *testing.T) {
	for name, tc := range map[string]struct {
		effective string
		known     bool
	}{
		"none":                     {"", false},
		"what is in effect":        {base, true},
		"on its way to OnLink":     {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {directRouting: OnLink}}", true},
		"another network":          {"network: 10.128.0.0/16\nbackend: {type: vxlan}", false},
		"on its way to alloc":      {"network: 10.244.0.0/16\nbackend: {type: alloc}", true},
		"other interface rules":    {base + "interface: {names: [eth1]}", false},
		"a lease out of bounds":    {base + "subnetMin: 10.244.9.0", false},
		"other rules of no weight": {base + "subnetMax: 10.244.9.0\nretentionSeconds: 5", true},
	} {
		t.Run(name, func(t *testing.T) {
			var effective *v1alpha1.EffectiveSpec
			if tc.effective != "" {
				e := parse(t, tc.effective).Effective()
				effective = &e
			}
			got, known := Recall(effective, inUseCluster(t, nil))
			if known != tc.known {
				t.Fatalf("known: %v, want %v", known, tc.known)
			}
			if known && got.Effective().Network != effective.Network {
				t.Errorf("recalled %+v", got)
			}
		})
	}
}

// TestID: names depend on everything a revision is made of and on nothing else, and stay what they were in earlier versions.
func TestID(t *testing.T) {
	for want, spec := range map[string]string{
		"328e8933": base,
		"85c7c36d": "network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {directRouting: OnLink}}",
		"e48785b7": "network: 10.244.0.0/16\nbackend: {type: host-gw}",
		"ec5a25a1": base + "mtu: 1400",
		"4f8c40ab": "network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 7, port: 4789}}",
		"4a908513": "network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {directRouting: Verified}}",
		"eec36d0a": "network: 10.244.0.0/16\nbackend: {type: udp}",
		"6cce1c7f": "network: 10.244.0.0/16\nbackend: {type: udp, udp: {port: 9000}}",
		"7854f132": base + "interface: {names: [eth1], overrides: [{nodeSelector: {matchLabels: {b: '1', a: '2'}}, cidrs: [192.0.2.0/24]}]}",
	} {
		if got := Target(parse(t, spec)).ID; got != want {
			t.Errorf("%s: got %s, want %s", spec, got, want)
		}
	}
	same := Target(parse(t, base)).ID
	for _, spec := range []string{
		"network: 10.0.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 1, port: 8472, directRouting: Never}}\nmtu: 0\ninterface: {}",
		base + "retentionSeconds: 1\nipMasq: {mode: Disabled}",
	} {
		if got := Target(parse(t, spec)).ID; got != same {
			t.Errorf("%s: got %s, want %s", spec, got, same)
		}
	}
}
