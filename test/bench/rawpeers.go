package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// reference makes the same entries with raw netlink calls through one handle, on a node that hopsack has prepared for no
// peers at all. Afterwards hopsack must find nothing of them missing.
func (r *peersRun) reference(ctx context.Context) error {
	n, err := newNode(0, defaultBackend())
	if err != nil {
		return err
	}
	defer n.remove()
	if err := n.stubUnderlay(); err != nil {
		return err
	}
	peers := leases(1, r.peers)
	none, err := n.compute(nil)
	if err != nil {
		return err
	}
	want, err := n.compute(leases(1, r.peers+again))
	if err != nil {
		return err
	}
	return n.do(func() error {
		if err := r.base.took(func() error { _, err := n.sync(ctx, none, true); return err }); err != nil {
			return err
		}
		raw, err := openRaw()
		if err != nil {
			return err
		}
		defer raw.handle.Close()
		if err := r.raw.took(func() error { return raw.add(peers) }); err != nil {
			return err
		}
		if err := errors.Join(countEntries(r.peers), r.rawDump.took(raw.dump)); err != nil {
			return err
		}
		for i := range again {
			joins := r.peers + 1 + i
			if err := r.one.took(func() error { return raw.add(leases(joins, joins)) }); err != nil {
				return err
			}
		}
		changes, err := n.sync(ctx, want, true)
		if entries := changes[dataplane.KindFDB] + changes[dataplane.KindNeigh] + changes[dataplane.KindRoute]; err == nil && entries > 0 {
			err = fmt.Errorf("raw netlink made other entries than hopsack wants: it changed %s", changes)
		}
		return err
	})
}

// rawNetlink is the shortest way to program peers without batching.
type rawNetlink struct {
	handle *netlink.Handle
	tunnel int
	source netip.Addr
}

func openRaw() (*rawNetlink, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	link, err := handle.LinkByName(desired.TunnelName(network.DefaultVNI, network.DefaultVXLANPort))
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("find the tunnel: %w", err)
	}
	return &rawNetlink{handle: handle, tunnel: link.Attrs().Index, source: network.Gateway(nodeSubnet(0))}, nil
}

func (r *rawNetlink) add(peers []network.Lease) error {
	for _, p := range peers {
		mac := p.VTEP.HardwareAddr()
		if err := r.handle.NeighSet(&netlink.Neigh{
			LinkIndex: r.tunnel, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT, IP: p.PublicIPs[0].AsSlice(), HardwareAddr: mac,
		}); err != nil {
			return fmt.Errorf("add fdb %s: %w", p.VTEP, err)
		}
		gateway := p.Subnet.Addr()
		if err := r.handle.NeighSet(&netlink.Neigh{
			LinkIndex: r.tunnel, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: gateway.AsSlice(), HardwareAddr: mac,
		}); err != nil {
			return fmt.Errorf("add neigh %s: %w", gateway, err)
		}
		if err := r.handle.RouteAdd(&netlink.Route{
			LinkIndex: r.tunnel, Dst: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(p.Subnet.Bits(), 32)}, Gw: gateway.AsSlice(),
			Flags: int(netlink.FLAG_ONLINK), Src: r.source.AsSlice(), MTU: underlayMTU - 50, Protocol: dataplane.RouteProtocol,
		}); err != nil {
			return fmt.Errorf("add route %s: %w", p.Subnet, err)
		}
	}
	return nil
}

// dump reads what a pass must read to know that nothing is missing.
func (r *rawNetlink) dump() error {
	_, errLinks := r.handle.LinkList()
	_, errAddrs := r.handle.AddrList(nil, netlink.FAMILY_ALL)
	_, errFDB := r.handle.NeighList(r.tunnel, unix.AF_BRIDGE)
	_, errNeighs := r.handle.NeighList(r.tunnel, netlink.FAMILY_ALL)
	_, errRoutes := r.handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	return errors.Join(errLinks, errAddrs, errFDB, errNeighs, errRoutes)
}

// countEntries proves that the kernel has the peers and no others, by other code than hopsack's own.
func countEntries(peers int) error {
	fdb, neighs, routes, err := readEntries()
	if err == nil && (fdb != peers || neighs != peers || routes != peers) {
		err = fmt.Errorf("the kernel has %d FDB entries, %d ARP entries and %d routes, want %d of each", fdb, neighs, routes, peers)
	}
	return err
}

// countAtLeast is countEntries where there may be more.
func countAtLeast(peers int) error {
	fdb, neighs, routes, err := readEntries()
	if err == nil && (fdb < peers || fdb != neighs || fdb != routes) {
		err = fmt.Errorf("the kernel has %d FDB entries, %d ARP entries and %d routes, want as many of each and %d at least", fdb, neighs, routes, peers)
	}
	return err
}

func readEntries() (fdb, neighs, routes int, err error) {
	raw, err := openRaw()
	if err != nil {
		return 0, 0, 0, err
	}
	defer raw.handle.Close()
	fdbList, errFDB := raw.handle.NeighList(raw.tunnel, unix.AF_BRIDGE)
	neighList, errNeighs := raw.handle.NeighList(raw.tunnel, unix.AF_INET)
	routeList, errRoutes := raw.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: raw.tunnel, Protocol: dataplane.RouteProtocol},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err := errors.Join(errFDB, errNeighs, errRoutes); err != nil {
		return 0, 0, 0, fmt.Errorf("read the kernel: %w", err)
	}
	return len(fdbList), len(neighList), len(routeList), nil
}

// eventWatch counts what the kernel tells of changes in this namespace.
type eventWatch struct{ sockets []*nl.NetlinkSocket }

// nfnlgrpNFTables is NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h), which x/sys does not have.
const nfnlgrpNFTables = 7

func watchEvents() (*eventWatch, error) {
	route, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF)
	if err != nil {
		return nil, fmt.Errorf("watch rtnetlink: %w", err)
	}
	w := &eventWatch{sockets: []*nl.NetlinkSocket{route}}
	filter, err := nl.Subscribe(unix.NETLINK_NETFILTER, nfnlgrpNFTables)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	w.sockets = append(w.sockets, filter)
	return w, nil
}

func (w *eventWatch) close() {
	for _, s := range w.sockets {
		s.Close()
	}
}

// settle waits until the kernel has told what a new device has it tell late: that its carrier is up, that its IPv6 address is
// no duplicate.
func (w *eventWatch) settle() error {
	const quiet, limit = 1500 * time.Millisecond, 15 * time.Second
	start := time.Now()
	for last := start; time.Since(last) < quiet; time.Sleep(20 * time.Millisecond) {
		n, err := w.count()
		if err != nil {
			return err
		}
		if n > 0 {
			last = time.Now()
		}
		if time.Since(start) > limit {
			return fmt.Errorf("the kernel has not come to rest in %s", limit)
		}
	}
	return nil
}

// count reads what has come so far; the kernel sends events before the call that caused them returns.
func (w *eventWatch) count() (int, error) {
	total := 0
	buffer := make([]byte, 1<<16)
	for _, s := range w.sockets {
		for {
			_, _, err := unix.Recvfrom(s.GetFd(), buffer, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return total, fmt.Errorf("read kernel events: %w", err)
			}
			total++
		}
	}
	return total, nil
}
