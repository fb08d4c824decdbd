package cni

import (
	"fmt"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setRouteMTU puts mtu on the default routes through ifName, of both families, in the namespace at netns; 0 takes it off.
// Routes that have it are not touched. A pod without a default route is an error: IPAM named it.
func setRouteMTU(netns, ifName string, mtu int) error {
	return inNetns(netns, func() error {
		routes, err := defaultRoutes(ifName)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.MTU == mtu {
				continue
			}
			r.MTU = mtu
			// Of the flags a dump shows, only this one may be set.
			r.Flags &= unix.RTNH_F_ONLINK
			if err := netlink.RouteReplace(&r); err != nil {
				return fmt.Errorf("set mtu %d on the default route via %s dev %s: %w", mtu, r.Gw, ifName, err)
			}
		}
		return nil
	})
}

// checkRouteMTU says whether the default routes through ifName have that mtu.
func checkRouteMTU(netns, ifName string, mtu int) error {
	return inNetns(netns, func() error {
		routes, err := defaultRoutes(ifName)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.MTU != mtu {
				return fmt.Errorf("default route via %s dev %s has mtu %d, want %d", r.Gw, ifName, r.MTU, mtu)
			}
		}
		return nil
	})
}

func inNetns(netns string, do func() error) error {
	err := ns.WithNetNSPath(netns, func(ns.NetNS) error { return do() })
	if err != nil {
		return fmt.Errorf("in the pod's namespace %s: %w", netns, err)
	}
	return nil
}

// defaultRoutes lists the default routes through ifName in the main table; none is an error.
func defaultRoutes(ifName string) ([]netlink.Route, error) {
	link, err := netlink.LinkByName(ifName)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", ifName, err)
	}
	var defaults []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := retryDump(func() ([]netlink.Route, error) { return netlink.RouteList(link, family) })
		if err != nil {
			return nil, fmt.Errorf("list routes through %s: %w", ifName, err)
		}
		for _, r := range routes {
			if isDefault(r) {
				defaults = append(defaults, r)
			}
		}
	}
	if len(defaults) == 0 {
		return nil, fmt.Errorf("no default route through %s", ifName)
	}
	return defaults, nil
}

// isDefault knows both forms in which the library shows the destination of a default route.
func isDefault(r netlink.Route) bool {
	if r.Gw == nil {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}
