package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
)

// view is what a pod sees, sorted: global addresses and default routes of eth0, and its MTU.
func (p pod) view(t testing.TB) []string {
	t.Helper()
	var view []string
	p.do(t, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		view = append(view, fmt.Sprintf("eth0 mtu %d", eth0.Attrs().MTU))
		addrs, err := netlink.AddrList(eth0, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				view = append(view, "addr "+a.IPNet.String())
			}
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteList(eth0, family)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if ones, _ := r.Dst.Mask.Size(); ones == 0 {
					view = append(view, fmt.Sprintf("default via %s mtu %d", r.Gw, r.MTU))
				}
			}
		}
		return nil
	})
	slices.Sort(view)
	return view
}

// links is what the node has besides lo: for the bridge all that must not change, for its ports what ADD sets.
func (n *node) links(t testing.TB) map[string]string {
	t.Helper()
	links := map[string]string{}
	n.do(t, func() error {
		list, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range list {
			a := l.Attrs()
			switch l := l.(type) {
			case *netlink.Bridge:
				addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
				if err != nil {
					return err
				}
				links[a.Name] = fmt.Sprintf("bridge %d %s mtu %d promisc %d vlan_filtering %v addrs %v",
					a.Index, a.HardwareAddr, a.MTU, a.Promisc, l.VlanFiltering != nil && *l.VlanFiltering, addrs)
			case *netlink.Veth:
				port, err := netlink.LinkGetProtinfo(l)
				if err != nil {
					port = netlink.Protinfo{} // no port of a bridge
				}
				links[a.Name] = fmt.Sprintf("veth mtu %d hairpin %v isolated %v alias %q", a.MTU, port.Hairpin, port.Isolated, a.Alias)
			}
		}
		return nil
	})
	return links
}

// args is a call of the plugin in this process.
func (n *node) args(t testing.TB, p pod) *skel.CmdArgs {
	t.Helper()
	conf := map[string]any{"cniVersion": n.version, "name": "hopsack", "type": "hopsack", "handoff": n.handoff, "dataDir": n.dataDir}
	for k, v := range n.keys {
		conf[k] = v
	}
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return &skel.CmdArgs{ContainerID: p.id, Netns: p.path(), IfName: "eth0", Path: binDir, StdinData: b}
}

// gc keeps these pods. It goes past libcni's cache, which would send a DEL for every other pod it knows: a runtime that lost
// its own state has no such cache.
func (n *node) gc(t testing.TB, keep ...pod) error {
	t.Helper()
	list := n.conflist(t)
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for _, p := range keep {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: p.id, IfName: "eth0"})
	}
	cache := n.cacheDir
	n.cacheDir = t.TempDir()
	defer func() { n.cacheDir = cache }()
	return n.call(func(ctx context.Context, c *libcni.CNIConfig) error { return c.GCNetworkList(ctx, list, args) })
}
