package network

import (
	"fmt"
	"net/netip"
	"regexp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Defaults of the vxlan backend.
const (
	DefaultVNI       = 1
	DefaultVXLANPort = 8472
	// DefaultUDPPort is that of the udp backend.
	DefaultUDPPort = 8285
)

// Backend is how packets travel between nodes. It is comparable.
type Backend struct {
	Type v1alpha1.BackendType
	// VNI is set for vxlan only.
	VNI uint32
	// Port is the UDP port of vxlan and udp.
	Port uint16
	// DirectRouting is set for vxlan only.
	DirectRouting v1alpha1.DirectRouting
}

// BackendFromAPI fills in the defaults. Errors name fields relative to the backend.
func BackendFromAPI(b v1alpha1.Backend) (Backend, error) {
	switch b.Type {
	case v1alpha1.BackendHostGW, v1alpha1.BackendAlloc:
		return Backend{Type: b.Type}, nil
	case v1alpha1.BackendUDP:
		return udpFromAPI(b.UDP)
	case v1alpha1.BackendVXLAN:
	default:
		return Backend{}, fmt.Errorf("type: %q is not one of vxlan, host-gw, udp, alloc", b.Type)
	}
	out := Backend{Type: b.Type, VNI: DefaultVNI, Port: DefaultVXLANPort, DirectRouting: v1alpha1.DirectRoutingNever}
	v := b.VXLAN
	if v == nil {
		return out, nil
	}
	if v.VNI != nil {
		if *v.VNI < 1 || *v.VNI >= 1<<24 {
			return Backend{}, fmt.Errorf("vxlan.vni: %d is not between 1 and 16777215", *v.VNI)
		}
		out.VNI = uint32(*v.VNI)
	}
	if v.Port != nil {
		if *v.Port < 1 || *v.Port >= 1<<16 {
			return Backend{}, fmt.Errorf("vxlan.port: %d is not between 1 and 65535", *v.Port)
		}
		out.Port = uint16(*v.Port)
	}
	switch v.DirectRouting {
	case "":
	case v1alpha1.DirectRoutingNever, v1alpha1.DirectRoutingOnLink, v1alpha1.DirectRoutingVerified:
		out.DirectRouting = v.DirectRouting
	default:
		return Backend{}, fmt.Errorf("vxlan.directRouting: %q is not one of Never, OnLink, Verified", v.DirectRouting)
	}
	return out, nil
}

func udpFromAPI(u *v1alpha1.UDPBackend) (Backend, error) {
	out := Backend{Type: v1alpha1.BackendUDP, Port: DefaultUDPPort}
	if u == nil || u.Port == nil {
		return out, nil
	}
	if *u.Port < 1 || *u.Port >= 1<<16 {
		return Backend{}, fmt.Errorf("udp.port: %d is not between 1 and 65535", *u.Port)
	}
	out.Port = uint16(*u.Port)
	return out, nil
}

// API returns the backend with every default spelt out.
func (b Backend) API() v1alpha1.Backend {
	out := v1alpha1.Backend{Type: b.Type}
	port := int32(b.Port)
	switch b.Type {
	case v1alpha1.BackendUDP:
		out.UDP = &v1alpha1.UDPBackend{Port: &port}
	case v1alpha1.BackendVXLAN:
		vni := int32(b.VNI)
		out.VXLAN = &v1alpha1.VXLANBackend{VNI: &vni, Port: &port, DirectRouting: b.DirectRouting}
	}
	return out
}

// vxlanOverhead is what VXLAN adds to a packet, in bytes, over an IPv4 underlay: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20
// (RFC 7348, section 5).
const vxlanOverhead = 14 + 8 + 8 + 20

// udpOverhead is what the udp backend adds: UDP 8, IPv4 20.
const udpOverhead = 8 + 20

// Overhead is how many bytes the backend adds to a pod's packet over an underlay of the given family.
func (b Backend) Overhead(underlay netip.Addr) int {
	overhead := 0
	switch b.Type {
	case v1alpha1.BackendVXLAN:
		overhead = vxlanOverhead
	case v1alpha1.BackendUDP:
		overhead = udpOverhead
	default:
		return 0
	}
	if underlay.Is6() {
		return overhead + 20 // the IPv6 header is 40 bytes
	}
	return overhead
}

// Encapsulates says whether the node has a tunnel for the backend.
func (b Backend) Encapsulates() bool {
	return b.Type == v1alpha1.BackendVXLAN || b.Type == v1alpha1.BackendUDP
}

// RoutesDirectly says whether some peer's packets may go out without encapsulation, so that paths may be asymmetric while nodes
// change one after another.
func (b Backend) RoutesDirectly() bool {
	return b.Type == v1alpha1.BackendHostGW || b.DirectRouting == v1alpha1.DirectRoutingOnLink ||
		b.DirectRouting == v1alpha1.DirectRoutingVerified
}

// InterfaceSelection is how a node finds its underlay interface: each rule is tried in the order of the fields.
type InterfaceSelection struct {
	Names    []string
	Regexes  []*regexp.Regexp // anchored at both ends
	CanReach netip.Addr       // invalid: no such rule
	CIDRs    []netip.Prefix
}

// IsZero says that there is no rule at all: the default applies.
func (s InterfaceSelection) IsZero() bool {
	return len(s.Names) == 0 && len(s.Regexes) == 0 && !s.CanReach.IsValid() && len(s.CIDRs) == 0
}

// InterfaceSelectionFromAPI compiles the rules. Errors name fields relative to the interface rules.
func InterfaceSelectionFromAPI(s v1alpha1.InterfaceSelection) (InterfaceSelection, error) {
	out := InterfaceSelection{Names: s.Names}
	for i, expr := range s.Regexes {
		re, err := regexp.Compile("^(?:" + expr + ")$")
		if err != nil {
			return InterfaceSelection{}, fmt.Errorf("regexes[%d]: %q: %w", i, expr, err)
		}
		out.Regexes = append(out.Regexes, re)
	}
	if s.CanReach != "" {
		addr, err := netip.ParseAddr(s.CanReach)
		if err != nil {
			return InterfaceSelection{}, fmt.Errorf("canReach: %w", err)
		}
		out.CanReach = addr
	}
	for i, c := range s.CIDRs {
		prefix, err := ParsePrefix(c)
		if err != nil {
			return InterfaceSelection{}, fmt.Errorf("cidrs[%d]: %w", i, err)
		}
		out.CIDRs = append(out.CIDRs, prefix)
	}
	return out, nil
}

// ParsePrefix parses a CIDR and refuses one with host bits set.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has host bits set, did you mean %q", s, p.Masked())
	}
	return p, nil
}

// ParseAddrs parses a list of addresses; errors name the index.
func ParseAddrs(in []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for i, s := range in {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %q is not an IP address", i, s)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}
