package nodespec

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

func TestRender(t *testing.T) {
	api := &v1alpha1.NetworkConfig{}
	err := yaml.UnmarshalStrict([]byte(`
network: 10.244.0.0/16
backend: {type: vxlan}
interface: {names: [eth0], overrides: [{nodeSelector: {matchLabels: {zone: a}}, names: [eth1]}]}
`), &api.Spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := network.FromAPI(api)
	if err != nil {
		t.Fatal(err)
	}
	got := Render(Input{
		Config: c, Step: rollout.Step{Revisions: []plan.Revision{rollout.Target(c)}, Transmit: map[string]string{"n1": rollout.Target(c).ID}}, VTEP: network.MAC{2, 0, 0, 0, 0, 1},
		Node: plan.Node{
			Name: "n1", UID: "u1", Labels: map[string]string{"zone": "a"},
			InternalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PublicIPs: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
		},
		Subnets: []plan.Subnet{{Prefix: netip.MustParsePrefix("10.244.1.0/24"), State: v1alpha1.SubnetBound}},
	})
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	id := rollout.Target(c).ID
	want := fmt.Sprintf(`cni:
  bridge: cni0
  conflist: Enabled
  hairpinMode: Enabled
  portMappings: Enabled
internalIPs:
- 192.0.2.1
ipMasq:
  kubeProxyMasqueradeBit: 14
  mode: Enabled
  randomFully: Disabled
nodeUID: u1
podNetworks:
- 10.244.0.0/16
publicIPs:
- 198.51.100.1
retentionSeconds: 86400
revisions:
- backend:
    type: vxlan
    vxlan:
      directRouting: Never
      port: 8472
      vni: 1
  id: %s
  interface:
    names:
    - eth1
subnets:
- state: Bound
  subnet: 10.244.1.0/24
transmit: %[1]s
vtepMAC: "02:00:00:00:00:01"
`, id)
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestDeriveMAC(t *testing.T) {
	for name, want := range map[string]string{"n1": "66:6b:8b:b8:4c:e7", "node-1.example.com": ""} {
		m := DeriveMAC(name, 0)
		if !m.IsUnicast() || m[0]&2 == 0 {
			t.Errorf("%s: %s is not a locally administered unicast address", name, m)
		}
		if want != "" && m.String() != want {
			t.Errorf("%s: got %s, want %s, as in every version", name, m, want)
		}
		if DeriveMAC(name, 1) == m {
			t.Errorf("%s: salt changes nothing", name)
		}
	}
}

func TestAssignMACs(t *testing.T) {
	a, b := DeriveMAC("a", 0), DeriveMAC("b", 0)
	for name, tc := range map[string]struct{ recorded, want map[string]network.MAC }{
		"new nodes":                {map[string]network.MAC{"a": {}, "b": {}}, map[string]network.MAC{"a": a, "b": b}},
		"kept":                     {map[string]network.MAC{"a": DeriveMAC("a", 1), "b": b}, map[string]network.MAC{"a": DeriveMAC("a", 1), "b": b}},
		"not one the name gives":   {map[string]network.MAC{"a": {2, 2, 2, 2, 2, 2}}, map[string]network.MAC{"a": a}},
		"another node's, recorded": {map[string]network.MAC{"a": {}, "b": a}, map[string]network.MAC{"a": a, "b": b}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, AssignMACs(tc.recorded)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	recorded := map[string]network.MAC{}
	for i := range 3000 {
		recorded[fmt.Sprint("node-", i)] = network.MAC{}
	}
	seen := map[network.MAC]bool{}
	for _, m := range AssignMACs(recorded) {
		seen[m] = true
	}
	if len(seen) != len(recorded) {
		t.Errorf("%d addresses for %d nodes", len(seen), len(recorded))
	}
}
