package flannel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// Options are choices that flannel's configuration does not make.
type Options struct {
	// Backend takes the place of flannel's, whose keys are then named as not carried over; "" keeps flannel's.
	Backend v1alpha1.BackendType
}

// Result is a NetworkConfig and all there is to say about how it came about.
type Result struct {
	Spec v1alpha1.NetworkConfigSpec
	// Dropped are keys that are not carried over, each with a reason; Notes are other things to know.
	Dropped, Notes []string
}

// Convert finds flannel's configuration in data and converts it. Errors name flannel's key and its value.
func Convert(data []byte, o Options) (Result, error) {
	in, err := find(data)
	if err != nil {
		return Result{}, err
	}
	top, err := parseObject(in.netConf)
	if err != nil {
		return Result{}, fmt.Errorf("net-conf.json: %w", err)
	}
	c := &converter{top: top}
	steps := []func() error{c.families, c.network, c.subnets, func() error { return c.backend(o.Backend) }}
	for _, step := range steps {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	c.leftovers()
	c.source(in.origin)
	if err := errors.Join(c.cni(in.cniConf), c.flags(in)); err != nil {
		return Result{}, err
	}
	if _, err := network.FromAPI(&v1alpha1.NetworkConfig{Spec: c.out.Spec}); err != nil {
		return Result{}, fmt.Errorf("hopsack cannot use the result: %w", err)
	}
	return c.out, nil
}

// wrong is an error about a key of flannel's configuration.
func wrong(key, format string, args ...any) error {
	return fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
}

type converter struct {
	top    object
	prefix netip.Prefix // Network
	out    Result
}

func (c *converter) drop(format string, args ...any) {
	c.out.Dropped = append(c.out.Dropped, fmt.Sprintf(format, args...))
}

func (c *converter) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

// families sees to EnableIPv4 and EnableIPv6.
func (c *converter) families() error {
	v4, err := c.top.flag("EnableIPv4", true)
	if err != nil {
		return err
	}
	v6, err := c.top.flag("EnableIPv6", false)
	switch {
	case err != nil:
		return err
	case !v4:
		return wrong("EnableIPv4", "false: this version of hopsack has IPv4 only")
	case v6:
		c.drop("EnableIPv6: true: this version of hopsack has IPv4 only: pods get no IPv6 address")
	}
	return nil
}

func (c *converter) network() error {
	text, err := c.top.text("Network")
	if err != nil {
		return err
	}
	if text == "" {
		return wrong("Network", "it is missing: flannel cannot do without it")
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return wrong("Network", "%q is not an IPv4 CIDR such as 10.244.0.0/16", text)
	}
	c.prefix = p.Masked()
	if c.prefix != p {
		c.note("Network: %s has host bits set, which flannel ignores: taken as %s", text, c.prefix)
	}
	if bits := c.prefix.Bits(); bits < 8 || bits > 27 {
		return wrong("Network", "%s: its prefix length is not between 8 and 27", text)
	}
	c.out.Spec.Network = c.prefix.String()
	return nil
}

// subnets sees to SubnetLen, SubnetMin and SubnetMax. Lengths are those of flannel's defaults, which are ours.
func (c *converter) subnets() error {
	length, err := c.top.number("SubnetLen")
	if err != nil {
		return err
	}
	switch {
	case length != 0:
		if length <= int64(c.prefix.Bits()) || length > 28 {
			return wrong("SubnetLen", "%d is not between %d (one more than Network %s) and 28", length, c.prefix.Bits()+1, c.prefix)
		}
		c.out.Spec.SubnetLen = new(int32(length))
	case c.prefix.Bits() > 22:
		length = int64(c.prefix.Bits()) + 2
		if length > 28 {
			return wrong("Network", "%s: flannel would cut it into /%d, and hopsack's subnets are /28 or larger: set SubnetLen", c.prefix, length)
		}
	default:
		length = 24
	}
	for _, bound := range []struct {
		key string
		to  *string
	}{{"SubnetMin", &c.out.Spec.SubnetMin}, {"SubnetMax", &c.out.Spec.SubnetMax}} {
		text, err := c.top.text(bound.key)
		if err != nil {
			return err
		}
		if text == "" || text == "0.0.0.0" {
			continue
		}
		addr, err := c.bound(bound.key, text, int(length))
		if err != nil {
			return err
		}
		*bound.to = addr.String()
	}
	return nil
}

// bound reads an address, or the subnet that begins with it.
func (c *converter) bound(key, text string, length int) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if p, perr := netip.ParsePrefix(text); perr == nil {
		addr, err = p.Addr(), nil
		if p.Bits() != length {
			return addr, wrong(key, "%s is a /%d, but subnets are /%d (SubnetLen)", text, p.Bits(), length)
		}
	}
	if err != nil || !addr.Is4() {
		return addr, fmt.Errorf("%s: %q is neither an IPv4 address nor a CIDR", key, text)
	}
	if !c.prefix.Contains(addr) {
		return addr, fmt.Errorf("%s: %s is not inside Network %s", key, text, c.prefix)
	}
	if first := netip.PrefixFrom(addr, length).Masked().Addr(); first != addr {
		return addr, fmt.Errorf("%s: %s is not the first address of a /%d, did you mean %s", key, text, length, first)
	}
	return addr, nil
}

// leftovers names all keys that nothing was made of.
func (c *converter) leftovers() {
	handled := []string{"enableipv4", "enableipv6", "network", "subnetlen", "subnetmin", "subnetmax", "backend"}
	for _, key := range c.top.keys {
		if slices.Contains(handled, strings.ToLower(key)) || !c.top.present(key) {
			continue
		}
		why := notCarried(key)
		if why == "" {
			why = "flannel has no such key and ignores it"
		}
		c.drop("%s: %s: %s", key, c.top.raw(key), why)
	}
	for _, key := range c.top.repeated {
		c.note("%s: it is there more than once; the last one counts, as in flannel", key)
	}
}

// source sees to where subnets came from.
func (c *converter) source(o origin) {
	s := c.out.Spec
	switch o {
	case originEtcd:
		c.out.Spec.PodCIDRs = v1alpha1.PodCIDRsIgnore
		c.note("podCIDRs: Ignore, because flannel kept its leases in etcd and did not look at Node.spec.podCIDRs. To give nodes the subnets they have now, create a SubnetLease for each")
	case originKubernetes:
		if s.SubnetLen != nil || s.SubnetMin != "" || s.SubnetMax != "" {
			c.note("subnetLen, subnetMin and subnetMax: with --kube-subnet-mgr flannel did not look at them, because nodes have podCIDRs; hopsack uses them for nodes without one")
		}
	case originFile:
		c.note("podCIDRs is left at its default Auto: nodes keep the podCIDRs they have, as with flannel's --kube-subnet-mgr. If flannel keeps its leases in etcd, set podCIDRs: Ignore")
	}
}
