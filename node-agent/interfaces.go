package nodeagent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// hostInterface is an interface that could be the underlay.
type hostInterface struct {
	Name string
	// Addrs are its global unicast addresses, primary ones first.
	Addrs []netip.Addr
	// MTU in bytes.
	MTU int
}

// hostInterfaces is what the choice of the underlay depends on.
type hostInterfaces struct {
	All []hostInterface
	// DefaultRoute is the interface of the default route, "" when there is none.
	DefaultRoute string
	// CanReach is the interface and the source address the kernel would use for the rule's canReach.
	CanReach     string
	CanReachFrom netip.Addr
}

// selectUnderlay picks the interface by the rules, or says which were tried in vain.
func selectUnderlay(rules network.InterfaceSelection, internalIPs []netip.Addr, host hostInterfaces) (desired.Underlay, error) {
	if rules.IsZero() {
		return selectDefault(internalIPs, host)
	}
	var tried []string
	for _, name := range rules.Names {
		if i, ok := host.find(func(i hostInterface) bool { return i.Name == name }); ok {
			return i.underlay(internalIPs), nil
		}
		tried = append(tried, "name "+name)
	}
	for _, re := range rules.Regexes {
		if i, ok := host.find(func(i hostInterface) bool { return re.MatchString(i.Name) }); ok {
			return i.underlay(internalIPs), nil
		}
		tried = append(tried, "regex "+re.String())
	}
	if rules.CanReach.IsValid() {
		if i, ok := host.find(func(i hostInterface) bool { return i.Name == host.CanReach }); ok {
			return i.underlay([]netip.Addr{host.CanReachFrom}), nil
		}
		tried = append(tried, "canReach "+rules.CanReach.String())
	}
	for _, cidr := range rules.CIDRs {
		if i, ok := host.find(func(i hostInterface) bool { return slices.ContainsFunc(i.Addrs, cidr.Contains) }); ok {
			inside := slices.DeleteFunc(slices.Clone(i.Addrs), func(a netip.Addr) bool { return !cidr.Contains(a) })
			return i.underlay(inside), nil
		}
		tried = append(tried, "cidr "+cidr.String())
	}
	return desired.Underlay{}, fmt.Errorf("no interface with an address matches %s; there are %s",
		strings.Join(tried, ", "), host.names())
}

// selectDefault takes the interface that holds one of the Node's addresses, else that of the default route.
func selectDefault(internalIPs []netip.Addr, host hostInterfaces) (desired.Underlay, error) {
	for _, ip := range internalIPs {
		if i, ok := host.find(func(i hostInterface) bool { return slices.Contains(i.Addrs, ip) }); ok {
			return i.underlay(internalIPs), nil
		}
	}
	if i, ok := host.find(func(i hostInterface) bool { return i.Name == host.DefaultRoute }); ok {
		return i.underlay(internalIPs), nil
	}
	return desired.Underlay{}, fmt.Errorf("no interface holds the Node's InternalIP %v and there is no default route; there are %s",
		internalIPs, host.names())
}

// find returns the first interface with an address that fits.
func (h hostInterfaces) find(fits func(hostInterface) bool) (hostInterface, bool) {
	for _, i := range h.All {
		if len(i.Addrs) > 0 && fits(i) {
			return i, true
		}
	}
	return hostInterface{}, false
}

func (h hostInterfaces) names() string {
	var out []string
	for _, i := range h.All {
		out = append(out, fmt.Sprintf("%s %v", i.Name, i.Addrs))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// underlay takes, per family, the first preferred address the interface holds, else its first.
func (i hostInterface) underlay(preferred []netip.Addr) desired.Underlay {
	out := desired.Underlay{Name: i.Name, MTU: i.MTU}
	for _, is4 := range []bool{true, false} {
		family := slices.DeleteFunc(slices.Clone(i.Addrs), func(a netip.Addr) bool { return a.Is4() != is4 })
		if len(family) == 0 {
			continue
		}
		chosen := family[0]
		for _, want := range preferred {
			if slices.Contains(family, want) {
				chosen = want
				break
			}
		}
		out.Addrs = append(out.Addrs, chosen)
	}
	return out
}
