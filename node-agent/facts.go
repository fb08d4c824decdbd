package nodeagent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// routeReader reads table main; dataplane's Netlink is one that does not mind thousands of routes.
type routeReader interface {
	Routes(contested func(netip.Prefix) bool) ([]dataplane.Route, error)
}

// readFacts reads from the kernel what desired.Compute must know. own says which devices are hopsack's: they can never be
// the underlay.
func readFacts(kernel routeReader, rules network.InterfaceSelection, internalIPs []netip.Addr, own func(netlink.Link) bool) (desired.Facts, error) {
	links, err := netlink.LinkList() // an interrupted dump is an error here: part of the facts is worse than none
	if err != nil {
		return desired.Facts{}, fmt.Errorf("list links: %w", err)
	}
	routes, err := kernel.Routes(func(netip.Prefix) bool { return true })
	if err != nil {
		return desired.Facts{}, fmt.Errorf("list routes: %w", err)
	}
	host, err := readInterfaces(links, routes, rules.CanReach, own)
	if err != nil {
		return desired.Facts{}, err
	}
	underlay, err := selectUnderlay(rules, internalIPs, host)
	if err != nil {
		return desired.Facts{}, noInterfaceError{err}
	}
	facts := desired.Facts{Underlay: underlay}
	for _, l := range links {
		if l.Attrs().Name == underlay.Name {
			facts.OnLink, facts.Detours = splitRoutes(routes, l.Attrs().Index)
		}
	}
	facts.Others = otherRoutes(links, routes)
	return facts, nil
}

// noInterfaceError says that no interface can be the underlay: a condition, and no reason to touch the kernel.
type noInterfaceError struct{ error }

// readInterfaces collects the interfaces that could be the underlay, in the kernel's order.
func readInterfaces(links []netlink.Link, routes []dataplane.Route, canReach netip.Addr, own func(netlink.Link) bool) (hostInterfaces, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return hostInterfaces{}, fmt.Errorf("list addresses: %w", err)
	}
	byLink := map[int][]netip.Addr{}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && ip.IsGlobalUnicast() && lasting(ip, a.Flags) {
			byLink[a.LinkIndex] = append(byLink[a.LinkIndex], ip)
		}
	}
	var host hostInterfaces
	names := map[int]string{}
	for _, l := range links {
		attrs := l.Attrs()
		names[attrs.Index] = attrs.Name
		if attrs.Flags&net.FlagLoopback == 0 && attrs.Flags&net.FlagUp != 0 && !own(l) {
			host.All = append(host.All, hostInterface{Name: attrs.Name, Addrs: byLink[attrs.Index], MTU: attrs.MTU})
		}
	}
	best, found := uint32(0), false
	for _, r := range routes {
		if r.Prefix.Bits() == 0 && r.Index != 0 && (!found || r.Metric < best) {
			best, found, host.DefaultRoute = r.Metric, true, names[r.Index]
		}
	}
	if canReach.IsValid() {
		found, err := netlink.RouteGet(canReach.AsSlice())
		if err == nil && len(found) > 0 {
			host.CanReach = names[found[0].LinkIndex]
			host.CanReachFrom, _ = netip.AddrFromSlice(found[0].Src)
			host.CanReachFrom = host.CanReachFrom.Unmap()
		} else if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
			return hostInterfaces{}, fmt.Errorf("look up the route to %s: %w", canReach, err)
		}
	}
	return host, nil
}

// lasting says whether an address is there to stay. In IPv4 the bit that marks IPv6's temporary ones says "secondary": the
// second address of a subnet on its interface, which a Node may well publish.
func lasting(ip netip.Addr, flags int) bool {
	passing := unix.IFA_F_TENTATIVE | unix.IFA_F_DEPRECATED
	if ip.Is6() {
		passing |= unix.IFA_F_TEMPORARY
	}
	return flags&passing == 0
}

// splitRoutes tells the destinations the underlay reaches without a gateway from all others. Hopsack's own routes say
// nothing about the underlay.
func splitRoutes(routes []dataplane.Route, underlay int) (onLink, detours []netip.Prefix) {
	for _, r := range routes {
		switch {
		case r.Protocol == dataplane.RouteProtocol:
		case r.Index == underlay && !r.Gateway.IsValid(): // a route with several next hops has no device of its own
			onLink = append(onLink, r.Prefix)
		default:
			detours = append(detours, r.Prefix)
		}
	}
	return onLink, detours
}

// otherRoutes are the routes that hopsack did not make and that have one way out: what carries packets with backend alloc.
func otherRoutes(links []netlink.Link, routes []dataplane.Route) []desired.OtherRoute {
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []desired.OtherRoute
	for _, r := range routes {
		if r.Protocol != dataplane.RouteProtocol && !r.Unreachable && names[r.Index] != "" {
			out = append(out, desired.OtherRoute{Prefix: r.Prefix, Metric: r.Metric, Device: names[r.Index], Gateway: r.Gateway})
		}
	}
	return out
}
