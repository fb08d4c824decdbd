package flannel

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// What the CRD takes as the names of a bridge and of a CNI plugin.
var (
	bridgeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,14}$`)
	pluginName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
)

// cni converts the CNI configuration that stands beside net-conf.json in the ConfigMap: a list of plugins, or flannel's alone.
func (c *converter) cni(data []byte) error {
	if data == nil {
		return nil
	}
	o, err := parseObject(data)
	if err != nil {
		return fmt.Errorf("cni-conf.json: %w", err)
	}
	plugins := []object{o}
	if o.present("plugins") {
		plugins = nil
		var raw []json.RawMessage
		if err := json.Unmarshal(o.values["plugins"], &raw); err != nil {
			return fmt.Errorf("cni-conf.json: plugins: %w", err)
		}
		for i, r := range raw {
			p, err := parseObject(r)
			if err != nil {
				return fmt.Errorf("cni-conf.json: plugins[%d]: %w", i, err)
			}
			plugins = append(plugins, p)
		}
	}
	settings := v1alpha1.CNISettings{PortMappings: v1alpha1.Disabled}
	for _, p := range plugins {
		if err := c.plugin(p, &settings); err != nil {
			return fmt.Errorf("cni-conf.json: %w", err)
		}
	}
	if settings.PortMappings == v1alpha1.Disabled {
		c.note("cni.portMappings: Disabled, because the plugin portmap is not in cni-conf.json")
	} else {
		settings.PortMappings = ""
	}
	if settings.Bridge != "" || settings.HairpinMode != "" || settings.PortMappings != "" || len(settings.Plugins) > 0 {
		c.out.Spec.CNI = &settings
	}
	return nil
}

// plugin converts one plugin of the chain.
func (c *converter) plugin(p object, s *v1alpha1.CNISettings) error {
	kind, err := p.text("type")
	if err != nil {
		return err
	}
	switch kind {
	case "portmap":
		s.PortMappings = v1alpha1.Enabled
		return nil
	case "flannel":
		delegate, err := p.child("delegate")
		if err != nil {
			return err
		}
		return c.delegate(delegate, s)
	case "":
		return fmt.Errorf("a plugin has no type")
	}
	config := map[string]json.RawMessage{}
	for _, key := range p.keys {
		if key != "type" {
			config[key] = p.values[strings.ToLower(key)]
		}
	}
	if !pluginName.MatchString(kind) || len(kind) > 64 || kind == "hopsack" || len(s.Plugins) == 16 {
		return fmt.Errorf("type: %q is not the file name of one of at most 16 CNI plugins", kind)
	}
	chained := v1alpha1.ChainedPlugin{Type: kind}
	if len(config) > 0 {
		raw, err := json.Marshal(config)
		if err != nil {
			return err
		}
		chained.Config = &runtime.RawExtension{Raw: raw}
	}
	s.Plugins = append(s.Plugins, chained)
	c.note("cni.plugins: %s is chained as in cni-conf.json; its binary must be on every node", kind)
	return nil
}

// delegate converts what flannel hands to the bridge plugin.
func (c *converter) delegate(d object, s *v1alpha1.CNISettings) error {
	hairpin, err := d.flag("hairpinMode", false)
	if err != nil {
		return fmt.Errorf("delegate.%w", err)
	}
	if !hairpin {
		s.HairpinMode = v1alpha1.Disabled
	}
	if s.Bridge, err = d.text("bridge"); err != nil {
		return fmt.Errorf("delegate.%w", err)
	}
	if s.Bridge != "" && !bridgeName.MatchString(s.Bridge) {
		return fmt.Errorf("delegate.bridge: %q is not the name of an interface", s.Bridge)
	}
	for _, key := range d.keys {
		switch strings.ToLower(key) {
		case "hairpinmode", "bridge":
		case "isdefaultgateway", "isgateway", "forceaddress", "ipmasq", "mtu", "ipam":
			// hopsack sees to the gateway, masquerade, MTU and addresses itself.
			if !slices.Contains([]string{"isDefaultGateway", "isGateway"}, key) || d.raw(key) != "true" {
				c.drop("cni-conf.json: delegate.%s: %s: hopsack sees to it itself", key, d.raw(key))
			}
		default:
			c.drop("cni-conf.json: delegate.%s: %s: hopsack has no setting for it", key, d.raw(key))
		}
	}
	return nil
}

// flags converts the arguments of flanneld, where a manifest shows them.
func (c *converter) flags(in found) error {
	if !in.manifest {
		if in.origin != originKubernetes {
			c.note("flanneld's flags are not in the input: see to --ip-masq (without it: ipMasq: {mode: Disabled}) and --iface (interface: {names: [...]})")
		} else {
			c.note("flanneld's flags are not in the ConfigMap: see to --iface (interface: {names: [...]}); --ip-masq is taken as set")
		}
		return nil
	}
	rules := &v1alpha1.InterfaceRules{}
	masquerade := false
	given := flagValues(in.args)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		values := given[name]
		value := values[len(values)-1]
		switch name {
		case "ip-masq":
			masquerade = value != "false"
		case "iface":
			for _, v := range values {
				c.iface(v, rules)
			}
		case "iface-regex":
			for _, v := range values {
				if _, err := regexp.Compile(v); err != nil || len(v) > 240 {
					return fmt.Errorf("--iface-regex: %q is not a regular expression of at most 240 characters", v)
				}
				rules.Regexes = append(rules.Regexes, wholeName(v))
			}
		case "iface-can-reach":
			addr, err := netip.ParseAddr(value)
			if err != nil || addr.Zone() != "" {
				return fmt.Errorf("--iface-can-reach: %q is not an IP address", value)
			}
			rules.CanReach = addr.Unmap().String()
		case "public-ip", "public-ipv6":
			c.drop("--%s: %s: annotate the Node instead (%s)", name, value, v1alpha1.PublicIPAnnotation)
		case "kube-subnet-mgr", "net-config-path", "v", "logtostderr":
		default:
			c.drop("--%s: %s: it has no counterpart", name, value)
		}
	}
	if !masquerade {
		c.out.Spec.IPMasq = &v1alpha1.IPMasq{Mode: v1alpha1.Disabled}
		c.note("ipMasq.mode: Disabled, because flanneld runs without --ip-masq")
	}
	if len(rules.Names) > 16 || len(rules.Regexes) > 16 {
		return fmt.Errorf("--iface or --iface-regex: there are more than 16")
	}
	if len(rules.Names) > 0 || len(rules.Regexes) > 0 || rules.CanReach != "" {
		c.out.Spec.Interface = rules
	}
	return nil
}

// iface converts --iface: the name of an interface, or an address of one.
func (c *converter) iface(value string, rules *v1alpha1.InterfaceRules) {
	if _, err := netip.ParseAddr(value); err == nil || strings.Contains(value, "$(") {
		c.drop("--iface: %s: it is an address, which every node has its own of; use interface.cidrs with the range of those addresses", value)
		return
	}
	if value == "" || len(value) > 15 {
		c.drop("--iface: %s: no interface can have such a name", value)
		return
	}
	rules.Names = append(rules.Names, value)
}

// flagValues are the flags in a command line by name, with one value for each time they are there.
func flagValues(args []string) map[string][]string {
	out := map[string][]string{}
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		if name == args[i] || name == "" {
			continue
		}
		name, value, ok := strings.Cut(name, "=")
		if !ok {
			value = "true"
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				value = args[i+1]
				i++
			}
		}
		out[name] = append(out[name], value)
	}
	return out
}

// wholeName turns an expression that flannel looks for anywhere in an interface's name into one that matches the whole name,
// as hopsack's do: ^eth[0-9]+$ becomes eth[0-9]+, what people would have written here.
func wholeName(expr string) string {
	general := ".*(?:" + expr + ").*"
	if strings.Contains(expr, "|") {
		return general // ^ and $ may belong to one of the alternatives only
	}
	inner, first := strings.CutPrefix(expr, "^")
	last := strings.HasSuffix(inner, "$") && !strings.HasSuffix(inner, `\$`)
	if !first {
		inner = ".*" + inner
	}
	if last {
		inner = strings.TrimSuffix(inner, "$")
	} else {
		inner += ".*"
	}
	if _, err := regexp.Compile(inner); err != nil {
		return general // an operator stood behind the anchor
	}
	return inner
}
