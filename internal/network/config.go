package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// DefaultRetention is how long a gone node's subnet waits for it where nobody chose.
const DefaultRetention = 24 * time.Hour

// Config is a NetworkConfig's spec, parsed, every default filled in.
type Config struct {
	// Ranges holds one range per address family, IPv4 first.
	Ranges    []Range
	PodCIDRs  v1alpha1.PodCIDRPolicy
	Retention time.Duration
	Backend   Backend
	// MTU is the configured MTU in bytes; 0 means each node's underlay MTU minus the backend's overhead.
	MTU       int
	IPMasq    v1alpha1.IPMasq
	Interface InterfaceRules
	CNI       v1alpha1.CNISettings
	Rollout   RolloutPolicy
}

// FromAPI parses a NetworkConfig. The error names every field that is wrong, each with its value.
func FromAPI(c *v1alpha1.NetworkConfig) (Config, error) { return fromSpec(&c.Spec) }

// FromEffective parses a configuration that an earlier pass accepted and recorded.
func FromEffective(e *v1alpha1.EffectiveSpec) (Config, error) {
	return fromSpec(&v1alpha1.NetworkConfigSpec{
		Network: e.Network, SubnetLen: &e.SubnetLen, SubnetMin: e.SubnetMin, SubnetMax: e.SubnetMax,
		PodCIDRs: e.PodCIDRs, RetentionSeconds: &e.RetentionSeconds, Backend: e.Backend, MTU: &e.MTU,
		IPMasq: &e.IPMasq, Interface: &e.Interface, CNI: &e.CNI, Rollout: &e.Rollout,
	})
}

func fromSpec(s *v1alpha1.NetworkConfigSpec) (Config, error) {
	c := Config{PodCIDRs: v1alpha1.PodCIDRsAuto, Retention: DefaultRetention}
	var errs fieldErrors
	if r, err := rangeFromAPI(s); err != nil {
		errs.add(err)
	} else {
		c.Ranges = append(c.Ranges, r)
	}
	switch s.PodCIDRs {
	case "":
	case v1alpha1.PodCIDRsAuto, v1alpha1.PodCIDRsIgnore:
		c.PodCIDRs = s.PodCIDRs
	default:
		errs.add(fmt.Errorf("spec.podCIDRs: %q is not one of Auto, Ignore", s.PodCIDRs))
	}
	if v := s.RetentionSeconds; v != nil {
		if *v < 0 || *v > 365*24*3600 {
			errs.add(fmt.Errorf("spec.retentionSeconds: %d is not between 0 and %d", *v, 365*24*3600))
		}
		c.Retention = time.Duration(*v) * time.Second
	}
	var err error
	if c.Backend, err = backendFromSpec(s.Backend); err != nil {
		errs.add(err)
	}
	if s.MTU != nil {
		c.MTU = int(*s.MTU)
		if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
			errs.add(fmt.Errorf("spec.mtu: %d is neither 0 nor between 576 and 65535", c.MTU))
		}
	}
	if c.IPMasq, err = effectiveIPMasq(s.IPMasq); err != nil {
		errs.add(err)
	}
	if c.Interface, err = interfaceRulesFromAPI(s.Interface); err != nil {
		errs.add(err)
	}
	if c.CNI, err = effectiveCNI(s.CNI); err != nil {
		errs.add(err)
	}
	if c.Rollout, err = rolloutFromAPI(s.Rollout); err != nil {
		errs.add(err)
	}
	if len(errs) > 0 {
		return Config{}, errs
	}
	return c, nil
}

// fieldErrors prints on one line: it becomes the message of a condition.
type fieldErrors []error

func (e *fieldErrors) add(err error) { *e = append(*e, err) }

func (e fieldErrors) Error() string {
	s := make([]string, len(e))
	for i, err := range e {
		s[i] = err.Error()
	}
	return strings.Join(s, "; ")
}

func rangeFromAPI(s *v1alpha1.NetworkConfigSpec) (Range, error) {
	p, err := ParsePrefix(s.Network)
	switch {
	case err != nil:
		return Range{}, fmt.Errorf("spec.network: %w", err)
	case !p.Addr().Is4():
		return Range{}, fmt.Errorf("spec.network: %s is not an IPv4 CIDR", p)
	case p.Bits() < 8 || p.Bits() > 27:
		return Range{}, fmt.Errorf("spec.network: prefix length %d of %s is not between 8 and 27", p.Bits(), p)
	}
	for _, bad := range unusable {
		if bad.Overlaps(p) {
			return Range{}, fmt.Errorf("spec.network: %s overlaps %s, which holds no addresses for pods", p, bad)
		}
	}
	subnetLen := 0
	if s.SubnetLen != nil {
		if subnetLen = int(*s.SubnetLen); subnetLen == 0 {
			return Range{}, errors.New("spec.subnetLen: 0 is not a prefix length")
		}
	}
	return newRange(p, subnetLen, s.SubnetMin, s.SubnetMax)
}

// unusable are the blocks whose addresses the kernel does not route: "this network", loopback, link-local, multicast and
// reserved (RFC 6890).
var unusable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

func backendFromSpec(b v1alpha1.Backend) (Backend, error) {
	for _, m := range []struct {
		set   bool
		field string
		of    v1alpha1.BackendType
	}{
		{b.VXLAN != nil, "vxlan", v1alpha1.BackendVXLAN},
		{b.HostGW != nil, "hostGW", v1alpha1.BackendHostGW},
		{b.UDP != nil, "udp", v1alpha1.BackendUDP},
		{b.Alloc != nil, "alloc", v1alpha1.BackendAlloc},
	} {
		if m.set && b.Type != m.of {
			return Backend{}, fmt.Errorf("spec.backend.%s: is set, but backend.type is %q", m.field, b.Type)
		}
	}
	out, err := BackendFromAPI(b)
	if err != nil {
		return Backend{}, fmt.Errorf("spec.backend.%w", err)
	}
	return out, nil
}

// toggle fills in the default of a Toggle and refuses what is none.
func toggle(field string, v *v1alpha1.Toggle, def v1alpha1.Toggle) error {
	switch *v {
	case "":
		*v = def
	case v1alpha1.Enabled, v1alpha1.Disabled:
	default:
		return fmt.Errorf("spec.%s: %q is not one of Enabled, Disabled", field, *v)
	}
	return nil
}

func effectiveIPMasq(in *v1alpha1.IPMasq) (v1alpha1.IPMasq, error) {
	out := v1alpha1.IPMasq{}
	if in != nil {
		out = *in.DeepCopy()
	}
	if err := errors.Join(
		toggle("ipMasq.mode", &out.Mode, v1alpha1.Enabled),
		toggle("ipMasq.randomFully", &out.RandomFully, v1alpha1.Disabled),
	); err != nil {
		return out, err
	}
	if out.KubeProxyMasqueradeBit == nil {
		bit := int32(DefaultNodePortBit)
		out.KubeProxyMasqueradeBit = &bit
	}
	if _, err := masqueradeFromAPI(out); err != nil {
		return out, fmt.Errorf("spec.ipMasq.%w", err)
	}
	return out, nil
}

var bridgeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,14}$`)
var pluginName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

func effectiveCNI(in *v1alpha1.CNISettings) (v1alpha1.CNISettings, error) {
	out := v1alpha1.CNISettings{}
	if in != nil {
		out = *in.DeepCopy()
	}
	if err := errors.Join(
		toggle("cni.hairpinMode", &out.HairpinMode, v1alpha1.Enabled),
		toggle("cni.portMappings", &out.PortMappings, v1alpha1.Enabled),
		toggle("cni.conflist", &out.Conflist, v1alpha1.Enabled),
	); err != nil {
		return out, err
	}
	if out.Bridge == "" {
		out.Bridge = DefaultBridge
	}
	if !bridgeName.MatchString(out.Bridge) || out.Bridge == "lo" {
		return out, fmt.Errorf("spec.cni.bridge: %q is not a name for a bridge", out.Bridge)
	}
	for i := range out.Plugins {
		if err := checkPlugin(&out.Plugins[i], out.PortMappings); err != nil {
			return out, fmt.Errorf("spec.cni.plugins[%d].%w", i, err)
		}
	}
	return out, nil
}

// checkPlugin also brings the plugin's keys into the form in which the API server returns them, so that what is rendered and
// what is stored compare equal.
func checkPlugin(p *v1alpha1.ChainedPlugin, portMappings v1alpha1.Toggle) error {
	if !pluginName.MatchString(p.Type) {
		return fmt.Errorf("type: %q is not the name of a CNI plugin", p.Type)
	}
	if p.Type == "hopsack" || p.Type == "portmap" && portMappings == v1alpha1.Enabled {
		return fmt.Errorf("type: %s is in the chain already", p.Type)
	}
	if p.Config == nil || len(p.Config.Raw) == 0 {
		p.Config = nil
		return nil
	}
	keys := map[string]any{}
	if err := utiljson.Unmarshal(p.Config.Raw, &keys); err != nil || keys == nil {
		return fmt.Errorf("config: %.60q is not a JSON object", bytes.TrimSpace(p.Config.Raw))
	}
	if _, ok := keys["type"]; ok {
		return errors.New("config: must not hold the key type, it has a field of its own")
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	p.Config = &runtime.RawExtension{Raw: raw}
	return nil
}

// InterfaceRules are the rules by which nodes find their underlay interface, with their exceptions.
type InterfaceRules struct {
	api       v1alpha1.InterfaceRules
	overrides []labels.Selector
	cidrs     []netip.Prefix
}

func interfaceRulesFromAPI(in *v1alpha1.InterfaceRules) (InterfaceRules, error) {
	var out InterfaceRules
	if in == nil {
		return out, nil
	}
	out.api = *in.DeepCopy()
	check := func(field string, s v1alpha1.InterfaceSelection) error {
		for i, expr := range s.Regexes { // first as written: compiled, it is anchored, and its errors show that
			if _, err := regexp.Compile(expr); err != nil {
				return fmt.Errorf("spec.%s.regexes[%d]: %q: %w", field, i, expr, err)
			}
		}
		for i, n := range s.Names {
			if n == "" || len(n) > 15 {
				return fmt.Errorf("spec.%s.names[%d]: %q is not an interface name", field, i, n)
			}
		}
		parsed, err := InterfaceSelectionFromAPI(s)
		if err != nil {
			return fmt.Errorf("spec.%s.%w", field, err)
		}
		out.cidrs = append(out.cidrs, parsed.CIDRs...)
		return nil
	}
	if err := check("interface", in.InterfaceSelection); err != nil {
		return out, err
	}
	for i, o := range in.Overrides {
		field := fmt.Sprintf("interface.overrides[%d]", i)
		selector, err := metav1.LabelSelectorAsSelector(&o.NodeSelector)
		if err != nil {
			return out, fmt.Errorf("spec.%s.nodeSelector: %w", field, err)
		}
		if err := check(field, o.InterfaceSelection); err != nil {
			return out, err
		}
		out.overrides = append(out.overrides, selector)
	}
	return out, nil
}

// API returns the rules as they were written.
func (r InterfaceRules) API() v1alpha1.InterfaceRules { return r.api }

// For returns the rules for a node with these labels.
func (r InterfaceRules) For(nodeLabels map[string]string) v1alpha1.InterfaceSelection {
	for i, selector := range r.overrides {
		if selector.Matches(labels.Set(nodeLabels)) {
			return r.api.Overrides[i].InterfaceSelection
		}
	}
	return r.api.InterfaceSelection
}

// Allows says whether a is inside one of the CIDRs of any rule: such an address may be published although the Node does not
// list it.
func (r InterfaceRules) Allows(a netip.Addr) bool {
	for _, p := range r.cidrs {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Effective prints the configuration, every default spelt out. FromEffective is its inverse.
func (c Config) Effective() v1alpha1.EffectiveSpec {
	out := v1alpha1.EffectiveSpec{
		PodCIDRs: c.PodCIDRs, RetentionSeconds: int32(c.Retention / time.Second),
		Backend: c.Backend.API(), MTU: int32(c.MTU), IPMasq: c.IPMasq, Interface: c.Interface.api, CNI: c.CNI, Rollout: c.Rollout.API(),
	}
	for _, r := range c.Ranges {
		if r.Network.Addr().Is4() {
			out.Network, out.SubnetLen = r.Network.String(), int32(r.SubnetLen)
			out.SubnetMin, out.SubnetMax = r.First.String(), r.Last.String()
		}
	}
	return out
}

// Networks are the ranges that hold pod addresses.
func (c Config) Networks() []netip.Prefix {
	out := make([]netip.Prefix, len(c.Ranges))
	for i, r := range c.Ranges {
		out[i] = r.Network
	}
	return out
}

// RangeOf is the range that p belongs to by its family; ok is false where the configuration has none.
func (c Config) RangeOf(p netip.Prefix) (Range, bool) {
	for _, r := range c.Ranges {
		if r.Network.Addr().Is4() == p.Addr().Is4() {
			return r, true
		}
	}
	return Range{}, false
}

// ParseLeaseName is the inverse of LeaseName. It refuses a name that no subnet has.
func ParseLeaseName(name string) (netip.Prefix, error) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return netip.Prefix{}, fmt.Errorf("%q is not the name of a lease", name)
	}
	p, err := netip.ParsePrefix(strings.ReplaceAll(name[:i], "-", ":") + "/" + name[i+1:])
	if err != nil || p != p.Masked() || LeaseName(p) != name {
		return netip.Prefix{}, fmt.Errorf("%q is not the name of a lease", name)
	}
	return p, nil
}
