package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// decidedKeys are the keys of the bridge plugin that are not the user's to set, with the reason told when a delegate block
// sets one to something else.
var decidedKeys = map[string]string{
	"bridge":           "the bridge is the one the agent made, spec.cni.bridge of the NetworkConfig",
	"mtu":              "the device MTU is the underlay's, so that it can stay when the backend changes; what may be sent is the mtu of routes",
	"isGateway":        "the agent owns the bridge's addresses",
	"isDefaultGateway": "the default route comes from IPAM, so that a node may have several subnets",
	"forceAddress":     "the agent owns the bridge's addresses",
	"ipMasq":           "the agent masquerades, spec.ipMasq of the NetworkConfig",
	"ipMasqBackend":    "the agent masquerades, spec.ipMasq of the NetworkConfig",
	"ipam":             "addresses come from the node's subnets",
	// These would change the bridge for all pods, or leave the pod without the address the network needs.
	"promiscMode":               "the agent owns the bridge",
	"vlan":                      "the agent owns the bridge",
	"vlanTrunk":                 "the agent owns the bridge",
	"preserveDefaultVlan":       "the agent owns the bridge",
	"disableContainerInterface": "a pod needs its interface",
	// These belong to the network as a whole.
	"name":          "it is the network's",
	"cniVersion":    "it is the network's",
	"args":          "it is the network's",
	"runtimeConfig": "it is the runtime's",
	"prevResult":    "it is the runtime's",
}

const hairpinKey = "hairpinMode"

// checkDelegate refuses a delegate block that cannot be honoured at all.
func (c netConf) checkDelegate() error {
	if raw, ok := foldedKey(c.Delegate, hairpinKey); ok && json.Unmarshal(raw, new(bool)) != nil {
		return invalidConf("delegate.%s: got %s, want true or false", hairpinKey, raw)
	}
	raw, ok := foldedKey(c.Delegate, "type")
	if !ok {
		return nil
	}
	var typ string
	if err := json.Unmarshal(raw, &typ); err != nil {
		return invalidConf("delegate.type: got %s, want %q", raw, bridgePlugin)
	}
	if typ != bridgePlugin {
		return invalidConf("delegate.type: hopsack plugs pods into its bridge and can delegate to %q only, not to %q", bridgePlugin, typ)
	}
	return nil
}

// bridgeConf returns the bridge plugin's configuration: what the delegate block says, under what hopsack decides, and one
// sentence for each of the block's settings that is not honoured. decided holds the values hopsack gives; keys of
// decidedKeys it lacks are left out.
func (c netConf) bridgeConf(decided map[string]any) (conf []byte, overrides []string, err error) {
	out := map[string]any{"type": bridgePlugin, "name": c.Name, "cniVersion": c.CNIVersion}
	for _, key := range slices.Sorted(maps.Keys(c.Delegate)) {
		value := c.Delegate[key]
		switch name, why := decidedKey(key); {
		case strings.EqualFold(key, "type"):
		case why != "":
			if said := overridden(name, value, decided[name], why); said != "" {
				overrides = append(overrides, said)
			}
		case strings.EqualFold(key, hairpinKey):
			out[hairpinKey] = value
		default:
			out[key] = value
		}
	}
	if len(c.IPAM) > 0 {
		overrides = append(overrides, fmt.Sprintf("ipam: ignored: %s", decidedKeys["ipam"]))
	}
	c.passThrough(out)
	for key, value := range decided {
		if _, set := out[key]; key == hairpinKey && set {
			continue // the one value that is the user's when the block has it
		}
		out[key] = value
	}
	conf, err = json.Marshal(out)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the configuration of %s: %w", bridgePlugin, err)
	}
	return conf, overrides, nil
}

// passThrough copies what the runtime and the network say to every plugin. ipRanges is not among it: which addresses pods
// get is the lease's to say.
func (c netConf) passThrough(out map[string]any) {
	if _, set := out["dns"]; !set && len(c.DNS) > 0 {
		out["dns"] = c.DNS
	}
	if len(c.Args) > 0 {
		out["args"] = c.Args
	}
	if len(c.PrevResult) > 0 {
		out["prevResult"] = c.PrevResult
	}
	runtimeConfig := maps.Clone(c.RuntimeConfig)
	maps.DeleteFunc(runtimeConfig, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, "ipRanges") })
	if len(runtimeConfig) > 0 {
		out["runtimeConfig"] = runtimeConfig
	}
}

// decidedKey returns the proper spelling of a decided key and why it is decided; why is empty for every other key. Case does
// not matter, because it does not to the plugin that decodes the result.
func decidedKey(key string) (name, why string) {
	for name, why := range decidedKeys {
		if strings.EqualFold(name, key) {
			return name, why
		}
	}
	return "", ""
}

func foldedKey(m map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	for k, v := range m {
		if strings.EqualFold(k, key) {
			return v, true
		}
	}
	return nil, false
}

// overridden says that the block's value is not honoured, or nothing when it asks for what happens anyway.
func overridden(name string, value json.RawMessage, decided any, why string) string {
	var asked, have any
	if json.Unmarshal(value, &asked) != nil {
		return ""
	}
	b, err := json.Marshal(decided)
	if err != nil || json.Unmarshal(b, &have) != nil {
		return ""
	}
	if reflect.DeepEqual(asked, have) || asked == nil || have == nil && reflect.ValueOf(asked).IsZero() {
		return ""
	}
	return fmt.Sprintf("delegate.%s: %s is ignored: %s", name, value, why)
}

// addressRange is a range of host-local.
type addressRange struct {
	Subnet     netip.Prefix `json:"subnet"`
	RangeStart netip.Addr   `json:"rangeStart"`
	RangeEnd   netip.Addr   `json:"rangeEnd"`
	Gateway    netip.Addr   `json:"gateway"`
}

type route struct {
	Dst netip.Prefix `json:"dst"`
	MTU int          `json:"mtu,omitempty"`
}

// ipamConf is the configuration of host-local.
type ipamConf struct {
	Type    string           `json:"type"`
	DataDir string           `json:"dataDir"`
	Ranges  [][]addressRange `json:"ranges"`
	Routes  []route          `json:"routes,omitempty"`
}

// rangeSets returns one range set per family, IPv4 first: a pod gets one address of each set, from any of its subnets that
// has one free.
func rangeSets(subnets []handoff.Subnet) [][]addressRange {
	var v4, v6 []addressRange
	for _, s := range subnets {
		first, last := handoff.PodRange(s.Subnet)
		r := addressRange{s.Subnet, first, last, s.Gateway}
		if s.Subnet.Addr().Is4() {
			v4 = append(v4, r)
		} else {
			v6 = append(v6, r)
		}
	}
	var sets [][]addressRange
	for _, set := range [][]addressRange{v4, v6} {
		if len(set) > 0 {
			sets = append(sets, set)
		}
	}
	return sets
}

// addIPAM is host-local's configuration for ADD: the ranges and, for each family, a default route. It names no gateway, so
// the bridge plugin takes that of the range the address came from. The mtu reaches the result; the route itself gets it
// from setRouteMTU.
func (c netConf) addIPAM(f handoff.File) ipamConf {
	conf := ipamConf{Type: ipamPlugin, DataDir: c.DataDir, Ranges: rangeSets(f.Usable())}
	for _, set := range conf.Ranges {
		all := netip.IPv4Unspecified()
		if set[0].Subnet.Addr().Is6() {
			all = netip.IPv6Unspecified()
		}
		conf.Routes = append(conf.Routes, route{netip.PrefixFrom(all, 0), f.RouteMTU})
	}
	return conf
}

// otherIPAM is host-local's configuration for the commands that go by the container's id alone. host-local insists on a
// range, whatever it is; a fixed one keeps DEL independent of the hand-off file (TEST-NET-1, no pod's).
func (c netConf) otherIPAM() ipamConf {
	subnet := netip.MustParsePrefix("192.0.2.0/24")
	first, last := handoff.PodRange(subnet)
	return ipamConf{Type: ipamPlugin, DataDir: c.DataDir,
		Ranges: [][]addressRange{{{subnet, first, last, handoff.GatewayAddress(subnet)}}}}
}

// addConf is the bridge plugin's configuration for ADD.
func (c netConf) addConf(f handoff.File) (conf []byte, overrides []string, err error) {
	return c.bridgeConf(map[string]any{
		"bridge": f.Bridge, "mtu": f.MTU, hairpinKey: f.HairpinMode,
		"isGateway": false, "isDefaultGateway": false, "forceAddress": false, "ipMasq": false,
		"ipam": c.addIPAM(f),
	})
}
