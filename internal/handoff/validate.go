package handoff

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// Bounds of an MTU: the least an IPv4 link may have (RFC 791), and the most the kernel's IPv4 routes take.
const (
	minMTU = 68
	maxMTU = 65535
)

// maxLinkName is IFNAMSIZ without its final NUL.
const maxLinkName = 15

func (f File) validate() error {
	if f.Version != Version {
		return versionError(f.Version)
	}
	if err := checkLinkName(f.Bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if f.MTU < minMTU || f.MTU > maxMTU {
		return fmt.Errorf("mtu: got %d, want %d to %d", f.MTU, minMTU, maxMTU)
	}
	if f.RouteMTU != 0 && (f.RouteMTU < minMTU || f.RouteMTU > f.MTU) {
		return fmt.Errorf("routeMTU: got %d, want 0 or %d to %d (mtu)", f.RouteMTU, minMTU, f.MTU)
	}
	for i, s := range f.Subnets {
		if field, err := s.validate(); err != nil {
			return fmt.Errorf("subnets[%d].%s: %w", i, field, err)
		}
		for j, other := range f.Subnets[:i] {
			if s.Subnet.Overlaps(other.Subnet) {
				return fmt.Errorf("subnets[%d].subnet: %s overlaps %s of subnets[%d]", i, s.Subnet, other.Subnet, j)
			}
		}
	}
	return nil
}

// validate returns the field at fault and why.
func (s Subnet) validate() (string, error) {
	switch {
	case !s.Subnet.IsValid():
		return "subnet", fmt.Errorf("missing")
	case s.Subnet.Addr().Is4In6():
		return "subnet", fmt.Errorf("%s is an IPv4 prefix in IPv6 form", s.Subnet)
	case s.Subnet != s.Subnet.Masked():
		return "subnet", fmt.Errorf("%s has host bits set, want %s", s.Subnet, s.Subnet.Masked())
	case s.Subnet.Addr().BitLen()-s.Subnet.Bits() < 2:
		return "subnet", fmt.Errorf("%s is too small to hold a gateway and a pod", s.Subnet)
	case !s.Gateway.IsValid():
		return "gateway", fmt.Errorf("missing")
	case s.Gateway != GatewayAddress(s.Subnet):
		return "gateway", fmt.Errorf("got %s, want %s, the first usable address of %s", s.Gateway, GatewayAddress(s.Subnet), s.Subnet)
	}
	return "", nil
}

func checkLinkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty")
	case len(name) > maxLinkName:
		return fmt.Errorf("%q is longer than %d characters", name, maxLinkName)
	case name == "." || name == "..", strings.ContainsFunc(name, notInLinkName):
		return fmt.Errorf("%q is no valid name of a network device", name)
	}
	return nil
}

func notInLinkName(r rune) bool {
	return r == '/' || r == ':' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// GatewayAddress returns the bridge's address in a subnet, its first usable one: 10.244.1.1 of 10.244.1.0/24.
func GatewayAddress(subnet netip.Prefix) netip.Addr {
	return subnet.Masked().Addr().Next()
}

// minPodAddresses is how many addresses must be left for pods before one is reserved: a /29 (4 left) reserves, a /30 does
// not.
const minPodAddresses = 4

// ReservedAddress returns the address of a subnet that no pod ever gets: the second usable one (the first is the bridge's),
// 10.244.1.2 of 10.244.1.0/24. It is kept for the agent, which will probe other nodes from it over exactly the path of pods.
// Subnets too small to leave four addresses for pods reserve none; then ok is false.
func ReservedAddress(subnet netip.Prefix) (addr netip.Addr, ok bool) {
	subnet = subnet.Masked()
	if !subnet.IsValid() {
		return netip.Addr{}, false
	}
	addr = GatewayAddress(subnet).Next()
	// Walking a few addresses is enough: whether four more follow is all that matters.
	last, left := lastHost(subnet), 0
	for a := addr.Next(); left < minPodAddresses && a.IsValid() && a.Compare(last) <= 0; a = a.Next() {
		left++
	}
	if left < minPodAddresses {
		return netip.Addr{}, false
	}
	return addr, true
}

// PodRange returns the first and the last address of a subnet that pods may have: without the network address, the first
// usable address (the bridge's), the reserved one, and the IPv4 broadcast address. The subnet must have room for a gateway
// and a pod, as the subnets of every File have.
func PodRange(subnet netip.Prefix) (first, last netip.Addr) {
	subnet = subnet.Masked()
	first = GatewayAddress(subnet).Next()
	if reserved, ok := ReservedAddress(subnet); ok {
		first = reserved.Next()
	}
	return first, lastHost(subnet)
}

// lastHost returns the last address of subnet a host may have: IPv4 keeps the last one for broadcasts.
func lastHost(subnet netip.Prefix) netip.Addr {
	b := subnet.Addr().AsSlice()
	for i := subnet.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if last.Is4() {
		return last.Prev()
	}
	return last
}
