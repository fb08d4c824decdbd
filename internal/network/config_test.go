package network

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func parseSpec(t testing.TB, text string) *v1alpha1.NetworkConfig {
	t.Helper()
	c := &v1alpha1.NetworkConfig{}
	if err := yaml.UnmarshalStrict([]byte(text), &c.Spec); err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return c
}

func TestEffectiveDefaults(t *testing.T) {
	c, err := FromAPI(parseSpec(t, "network: 10.244.0.0/16\nbackend: {type: vxlan}"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(c.Effective())
	if err != nil {
		t.Fatal(err)
	}
	want := `backend:
  type: vxlan
  vxlan:
    directRouting: Never
    port: 8472
    vni: 1
cni:
  bridge: cni0
  conflist: Enabled
  hairpinMode: Enabled
  portMappings: Enabled
ipMasq:
  kubeProxyMasqueradeBit: 14
  mode: Enabled
  randomFully: Disabled
mtu: 0
network: 10.244.0.0/16
podCIDRs: Auto
retentionSeconds: 86400
rollout:
  abandonAfterSeconds: 0
  maxConcurrent: 10%
  onFailure: Rollback
  progressDeadlineSeconds: 600
  strategy: Rolling
subnetLen: 24
subnetMax: 10.244.255.0
subnetMin: 10.244.1.0
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("effective (-want +got):\n%s", diff)
	}
	if c.Retention != 24*time.Hour {
		t.Errorf("retention %s, want 24h", c.Retention)
	}
}

func TestFromAPIErrors(t *testing.T) {
	const vxlan = "\nbackend: {type: vxlan}"
	for name, tc := range map[string]struct{ spec, want string }{
		"no network":          {"backend: {type: vxlan}", `spec.network: "" is not a CIDR`},
		"host bits":           {"network: 10.244.3.7/16" + vxlan, `spec.network: "10.244.3.7/16" has host bits set, did you mean "10.244.0.0/16"`},
		"IPv6":                {"network: fd00::/48" + vxlan, "spec.network: fd00::/48 is not an IPv4 CIDR"},
		"too wide":            {"network: 10.0.0.0/7" + vxlan, "spec.network: prefix length 7 of 10.0.0.0/7 is not between 8 and 27"},
		"loopback":            {"network: 127.8.0.0/16" + vxlan, "spec.network: 127.8.0.0/16 overlaps 127.0.0.0/8"},
		"multicast":           {"network: 224.0.0.0/8" + vxlan, "spec.network: 224.0.0.0/8 overlaps 224.0.0.0/3"},
		"subnetLen of net":    {"network: 10.244.0.0/16\nsubnetLen: 16" + vxlan, "spec.subnetLen: 16 is not between 17"},
		"subnetLen 29":        {"network: 10.244.0.0/16\nsubnetLen: 29" + vxlan, "spec.subnetLen: 29 is not between 17"},
		"subnetLen 0":         {"network: 10.244.0.0/16\nsubnetLen: 0" + vxlan, "spec.subnetLen: 0"},
		"too small":           {"network: 10.244.0.0/27" + vxlan, "spec.subnetLen: 29"},
		"min after max":       {"network: 10.244.0.0/16\nsubnetMin: 10.244.9.0\nsubnetMax: 10.244.8.0" + vxlan, "spec.subnetMin: 10.244.9.0 lies after subnetMax 10.244.8.0"},
		"min after default":   {"network: 10.244.0.0/16\nsubnetMax: 10.244.0.0" + vxlan, "spec.subnetMin: 10.244.1.0 lies after subnetMax 10.244.0.0"},
		"min not aligned":     {"network: 10.244.0.0/16\nsubnetMin: 10.244.9.5" + vxlan, "spec.subnetMin: 10.244.9.5 is not the first address of a /24, 10.244.9.0 is"},
		"max outside":         {"network: 10.244.0.0/16\nsubnetMax: 10.245.9.0" + vxlan, "spec.subnetMax: 10.245.9.0 lies outside network 10.244.0.0/16"},
		"min of other family": {"network: 10.244.0.0/16\nsubnetMin: 'fd00::'" + vxlan, `spec.subnetMin: "fd00::" is not an address of network's family`},
		"podCIDRs":            {"network: 10.244.0.0/16\npodCIDRs: Maybe" + vxlan, `spec.podCIDRs: "Maybe"`},
		"retention":           {"network: 10.244.0.0/16\nretentionSeconds: -5" + vxlan, "spec.retentionSeconds: -5"},
		"no backend":          {"network: 10.244.0.0/16", `spec.backend.type: ""`},
		"two members":         {"network: 10.244.0.0/16\nbackend: {type: host-gw, hostGW: {}, vxlan: {}}", `spec.backend.vxlan: is set, but backend.type is "host-gw"`},
		"VNI":                 {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 16777216}}", "spec.backend.vxlan.vni: 16777216"},
		"port":                {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {port: 0}}", "spec.backend.vxlan.port: 0"},
		"directRouting":       {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {directRouting: Always}}", `spec.backend.vxlan.directRouting: "Always" is not one of Never, OnLink, Verified`},
		"udp port":            {"network: 10.244.0.0/16\nbackend: {type: udp, udp: {port: 65536}}", "spec.backend.udp.port: 65536 is not between 1 and 65535"},
		"udp without type":    {"network: 10.244.0.0/16\nbackend: {type: vxlan, udp: {}}", `spec.backend.udp: is set, but backend.type is "vxlan"`},
		"mtu":                 {"network: 10.244.0.0/16\nmtu: 575" + vxlan, "spec.mtu: 575"},
		"masq toggle":         {"network: 10.244.0.0/16\nipMasq: {mode: Sometimes}" + vxlan, `spec.ipMasq.mode: "Sometimes"`},
		"masq bit":            {"network: 10.244.0.0/16\nipMasq: {kubeProxyMasqueradeBit: 32}" + vxlan, "spec.ipMasq.kubeProxyMasqueradeBit: 32"},
		"masq CIDR":           {"network: 10.244.0.0/16\nipMasq: {nonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.1/8]}" + vxlan, "spec.ipMasq.nonMasqueradeCIDRs[1]"},
		"regex":               {"network: 10.244.0.0/16\ninterface: {regexes: ['eth0', 'eth[']}" + vxlan, "spec.interface.regexes[1]: \"eth[\": error parsing regexp: missing closing ]: `[`"},
		"name":                {"network: 10.244.0.0/16\ninterface: {names: [a-name-that-is-too-long]}" + vxlan, "spec.interface.names[0]"},
		"canReach":            {"network: 10.244.0.0/16\ninterface: {canReach: gw}" + vxlan, "spec.interface.canReach"},
		"override CIDR":       {"network: 10.244.0.0/16\ninterface: {overrides: [{nodeSelector: {}, cidrs: [10.0.0.1/8]}]}" + vxlan, "spec.interface.overrides[0].cidrs[0]"},
		"bridge":              {"network: 10.244.0.0/16\ncni: {bridge: a b}" + vxlan, `spec.cni.bridge: "a b"`},
		"plugin config":       {"network: 10.244.0.0/16\ncni: {plugins: [{type: bandwidth, config: 7}]}" + vxlan, "spec.cni.plugins[0].config: "},
		"plugin null":         {"network: 10.244.0.0/16\ncni: {plugins: [{type: a}, {type: hopsack}]}" + vxlan, "spec.cni.plugins[1].type: hopsack is in the chain"},
		"several":             {"network: 10.244.0.0/16\nmtu: 1\nbackend: {type: x}", `spec.backend.type: "x" is not one of vxlan, host-gw, udp, alloc; spec.mtu: 1`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromAPI(parseSpec(t, tc.spec))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
		})
	}
}

func TestInterfaceFor(t *testing.T) {
	c, err := FromAPI(parseSpec(t, `
network: 10.244.0.0/16
backend: {type: vxlan}
interface:
  names: [eth0]
  cidrs: [10.0.0.0/24]
  overrides:
  - nodeSelector: {matchLabels: {zone: a}}
    names: [eth1]
  - nodeSelector: {matchExpressions: [{key: zone, operator: Exists}]}
    cidrs: [10.1.0.0/24]
`))
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]string{"": "eth0", "a": "eth1", "b": ""} {
		labels := map[string]string{}
		if zone != "" {
			labels["zone"] = zone
		}
		if got := strings.Join(c.Interface.For(labels).Names, ","); got != want {
			t.Errorf("zone %q: names %q, want %q", zone, got, want)
		}
	}
	for _, addr := range []string{"10.0.0.7", "10.1.0.7"} {
		if !c.Interface.Allows(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not allowed, want it to be: it lies inside interface.cidrs", addr)
		}
	}
	if c.Interface.Allows(netip.MustParseAddr("10.2.0.7")) {
		t.Error("10.2.0.7 is allowed, want it not to be")
	}
}

// FuzzFromAPI: whatever the spec, FromAPI neither panics nor lets a bad value through, and what it accepts is a fixed point:
// the effective configuration parses to itself.
func FuzzFromAPI(f *testing.F) {
	f.Add("network: 10.244.0.0/16\nbackend: {type: vxlan}")
	f.Add("network: 10.244.0.0/20\nsubnetLen: 26\nsubnetMin: 10.244.1.0\nsubnetMax: 10.244.3.192\nbackend: {type: vxlan, vxlan: {vni: 7, port: 4789, directRouting: OnLink}}\nmtu: 1400")
	f.Add("network: 10.244.0.0/16\nbackend: {type: host-gw, hostGW: {}}\ninterface: {regexes: ['eth.*'], overrides: [{nodeSelector: {matchLabels: {a: b}}, cidrs: [10.0.0.0/8]}]}")
	f.Add("network: 10.0.0.0/8\nbackend: {type: alloc}\nipMasq: {mode: Disabled, nonMasqueradeCIDRs: [192.168.0.0/16]}\ncni: {plugins: [{type: bandwidth, config: {a: 1.50, b: [null, {c: '<'}]}}]}")
	f.Fuzz(func(t *testing.T, text string) {
		in := &v1alpha1.NetworkConfig{}
		if yaml.Unmarshal([]byte(text), &in.Spec) != nil {
			t.Skip("not a spec")
		}
		before := in.DeepCopy()
		c, err := FromAPI(in)
		if diff := cmp.Diff(before, in); diff != "" {
			t.Fatalf("FromAPI changed its input:\n%s", diff)
		}
		if err != nil {
			return
		}
		r := c.Ranges[0]
		if !r.Holds(r.At(0)) || !r.Holds(r.At(r.Size()-1)) || !r.Inside(r.At(r.Size()-1)) {
			t.Fatalf("range %+v does not hold its own subnets", r)
		}
		effective := c.Effective()
		again, err := FromEffective(&effective)
		if err != nil {
			t.Fatalf("effective configuration is refused: %v\n%+v", err, effective)
		}
		if diff := cmp.Diff(effective, again.Effective()); diff != "" {
			t.Fatalf("effective configuration changes when parsed again:\n%s", diff)
		}
	})
}
