package cni

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
)

func TestConfRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		conf string // further keys
		code uint
		want string
	}{
		"handoff a number":      {`"handoff":5`, types.ErrDecodingFailure, "handoff: got a JSON number, want a string"},
		"handoff relative":      {`"handoff":"run/cni.json"`, types.ErrInvalidNetworkConfig, `handoff: "run/cni.json" is no absolute path`},
		"dataDir relative":      {`"dataDir":"ipam"`, types.ErrInvalidNetworkConfig, `dataDir: "ipam" is no absolute path`},
		"dataDir an object":     {`"dataDir":{}`, types.ErrDecodingFailure, "dataDir: got a JSON object, want a string"},
		"delegate a string":     {`"delegate":"bridge"`, types.ErrDecodingFailure, "delegate: got a JSON string, want an object"},
		"delegate a list":       {`"delegate":[1]`, types.ErrDecodingFailure, "delegate: got a JSON array, want an object"},
		"delegate of a type":    {`"delegate":{"type":"macvlan"}`, types.ErrInvalidNetworkConfig, `delegate.type: hopsack plugs pods into its bridge and can delegate to "bridge" only, not to "macvlan"`},
		"delegate TYPE":         {`"delegate":{"TYPE":"ipvlan"}`, types.ErrInvalidNetworkConfig, `not to "ipvlan"`},
		"delegate type no text": {`"delegate":{"type":7}`, types.ErrInvalidNetworkConfig, `delegate.type: got 7, want "bridge"`},
		"hairpin no bool":       {`"delegate":{"hairpinMode":"on"}`, types.ErrInvalidNetworkConfig, `delegate.hairpinMode: got "on", want true or false`},
		"runtimeConfig a list":  {`"runtimeConfig":[]`, types.ErrDecodingFailure, "runtimeConfig: got a JSON array, want an object"},
		"not first in chain":    {`"prevResult":{"cniVersion":"1.1.0"}`, types.ErrInvalidNetworkConfig, "hopsack must be the first plugin of hopsack"},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
			err := n.raw("ADD", `{"cniVersion":"1.1.0","name":"hopsack","type":"hopsack",`+tc.conf+`}`,
				"CNI_CONTAINERID=pod-1", "CNI_NETNS="+p.path(), "CNI_IFNAME=eth0")
			wantCode(t, err, tc.code, tc.want)
		})
	}
}

func TestConfDefaults(t *testing.T) {
	c, err := parseConf([]byte(`{"name":"hopsack","delegate":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Handoff != "/run/hopsack/cni.json" || c.dataDir() != "/run/hopsack/ipam/hopsack" {
		t.Errorf("got %s and %s", c.Handoff, c.dataDir())
	}
}

// The configuration the bridge plugin gets, with everything a user or a runtime may put in.
func TestBridgeConf(t *testing.T) {
	c, err := parseConf([]byte(`{
		"cniVersion":"1.1.0","name":"pods","type":"hopsack",
		"delegate":{"hairpinMode":false,"isDefaultGateway":true,"ISGATEWAY":true,"ipMasq":false,"mtu":1400,"bridge":"br7",
			"portIsolation":true,"promiscMode":true,"vlan":0,"ipam":{"type":"dhcp"},"forceAddress":null},
		"ipam":{"routes":[]},
		"args":{"cni":{"ips":["10.244.1.7"]}},"dns":{"domain":"pods"},
		"runtimeConfig":{"mac":"02:00:00:00:00:07","ipRanges":[[{"subnet":"10.9.0.0/24"}]]}}`))
	if err != nil {
		t.Fatal(err)
	}
	conf, overrides, err := c.addConf(file("10.244.1.0/24", "!10.9.0.0/24", "fd00::/64", "10.245.0.0/30"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"args":{"cni":{"ips":["10.244.1.7"]}},"bridge":"cni0","cniVersion":"1.1.0","dns":{"domain":"pods"},` +
		`"forceAddress":false,"hairpinMode":false,"ipMasq":false,"ipam":{"type":"host-local","dataDir":"/run/hopsack/ipam","ranges":[` +
		`[{"subnet":"10.244.1.0/24","rangeStart":"10.244.1.3","rangeEnd":"10.244.1.254","gateway":"10.244.1.1"},` +
		`{"subnet":"10.245.0.0/30","rangeStart":"10.245.0.2","rangeEnd":"10.245.0.2","gateway":"10.245.0.1"}],` +
		`[{"subnet":"fd00::/64","rangeStart":"fd00::3","rangeEnd":"fd00::ffff:ffff:ffff:ffff","gateway":"fd00::1"}]],` +
		`"routes":[{"dst":"0.0.0.0/0","mtu":1450},{"dst":"::/0","mtu":1450}]},"isDefaultGateway":false,"isGateway":false,` +
		`"mtu":1500,"name":"pods","portIsolation":true,"runtimeConfig":{"mac":"02:00:00:00:00:07"},"type":"bridge"}`
	if diff := cmp.Diff(indent(t, []byte(want)), indent(t, conf)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	wantOverrides := []string{
		"delegate.isGateway: true is ignored: the agent owns the bridge's addresses",
		`delegate.bridge: "br7" is ignored: the bridge is the one the agent made, spec.cni.bridge of the NetworkConfig`,
		`delegate.ipam: {"type":"dhcp"} is ignored: addresses come from the node's subnets`,
		"delegate.isDefaultGateway: true is ignored: the default route comes from IPAM, so that a node may have several subnets",
		"delegate.mtu: 1400 is ignored: the device MTU is the underlay's, so that it can stay when the backend changes; what may be sent is the mtu of routes",
		"delegate.promiscMode: true is ignored: the agent owns the bridge",
		"ipam: ignored: addresses come from the node's subnets",
	}
	if diff := cmp.Diff(wantOverrides, overrides); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
}

func indent(t *testing.T, b []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What people have from flannel: both keys are usual, and the second cannot be honoured.
func TestFlannelStyleDelegate(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		f := file("10.244.1.0/24")
		f.HairpinMode = !hairpin
		n, p := newNode(t, f), newPod(t, "pod-1")
		n.keys = map[string]any{"delegate": map[string]any{"hairpinMode": hairpin, "isDefaultGateway": true}}
		r := n.add(t, p)
		if got := strings.Count(n.stderr.String(), "hopsack: delegate.isDefaultGateway: true is ignored"); got != 1 {
			t.Errorf("override named %d times, want once: %q", got, n.stderr.String())
		}
		port := n.links(t)[r.Interfaces[1].Name]
		if got := strings.Contains(port, "hairpin true"); got != hairpin {
			t.Errorf("delegate.hairpinMode %v over the hand-off's %v: port is %q", hairpin, !hairpin, port)
		}
		want := []string{"addr 10.244.1.3/24", "default via 10.244.1.1 mtu 1450", "eth0 mtu 1500"}
		if diff := cmp.Diff(want, p.view(t)); diff != "" {
			t.Errorf("pod (-want +got):\n%s", diff)
		}
		if err := n.check(t, p); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		n.del(t, p)
	}
}

// What a runtime asks for through capabilities is served inside the node's subnets only.
func TestRuntimeConfig(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24", "!10.245.1.0/24"))
	n.keys = map[string]any{"capabilities": map[string]bool{"ips": true, "mac": true, "ipRanges": true}}
	p := newPod(t, "pod-1")
	rt := p.conf()
	rt.CapabilityArgs = map[string]any{"ips": []string{"10.244.1.77"}, "mac": "02:11:22:33:44:55",
		"ipRanges": [][]map[string]string{{{"subnet": "10.99.0.0/24"}}}}
	r, err := n.tryAdd(t, rt)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.IPs) != 1 || firstAddr(t, r) != "10.244.1.77" || r.Interfaces[2].Mac != "02:11:22:33:44:55" {
		t.Errorf("got %v %s, want 10.244.1.77 and 02:11:22:33:44:55", r.IPs, r.Interfaces[2].Mac)
	}
	for _, refused := range []string{"10.244.1.1", "10.244.1.2", "10.244.1.77", "10.245.1.9", "10.99.0.9"} {
		q := newPod(t, "pod-"+refused)
		rt := q.conf()
		rt.CapabilityArgs = map[string]any{"ips": []string{refused}}
		if r, err := n.tryAdd(t, rt); err == nil {
			t.Errorf("%s was given out: %v", refused, r.IPs)
		} else if !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: got %v, want the address named", refused, err)
		}
	}
	if diff := cmp.Diff([]string{"10.244.1.77"}, n.inUse(t)); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
}

// No delegate block, however spelt, gets a decided key past hopsack: the bridge plugin decodes without regard to case.
func FuzzBridgeConf(f *testing.F) {
	f.Add(`{"hairpinMode":true,"isDefaultGateway":true}`)
	f.Add(`{"iſGateway":true,"isgateway":true,"FORCEADDRESS":true,"zipMasq":true}`)
	f.Add(`{"Bridge":"x","TYPE":"ptp","ipam":{"type":"dhcp"},"promiscmode":true}`)
	f.Add(`{"dns":{"domain":"x"},"RuntimeConfig":{"ipRanges":[]},"prevresult":{}}`)
	f.Fuzz(func(t *testing.T, block string) {
		var delegate map[string]json.RawMessage
		if json.Unmarshal([]byte(block), &delegate) != nil {
			return
		}
		c := netConf{CNIVersion: "1.1.0", Name: "hopsack", DataDir: "/run/hopsack/ipam", Delegate: delegate}
		conf, _, err := c.addConf(file("10.244.1.0/24"))
		if err != nil {
			t.Fatal(err)
		}
		type decided struct {
			CNIVersion, Name, Type, Bridge                              string
			MTU                                                         int
			IsGateway, IsDefaultGateway, ForceAddress, IPMasq           bool
			PromiscMode, PreserveDefaultVlan, DisableContainerInterface bool
			Vlan, VlanTrunk, IPMasqBackend, RuntimeConfig, PrevResult   any
			IPAM                                                        struct{ Type, DataDir string }
		}
		var got decided
		if err := json.Unmarshal(conf, &got); err != nil {
			t.Fatalf("%s: %v", conf, err)
		}
		want := decided{CNIVersion: "1.1.0", Name: "hopsack", Type: bridgePlugin, Bridge: "cni0", MTU: 1500}
		want.IPAM.Type, want.IPAM.DataDir = ipamPlugin, "/run/hopsack/ipam"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s gives %s\n%s", block, conf, diff)
		}
	})
}
