package monitor

import (
	"bytes"
	"context"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkState is what of a device matters to hopsack; messages that change something else are dropped.
type linkState struct {
	name string
	up   bool
	mtu  uint32
	mac  [6]byte
	// master is the device it is enslaved to.
	master uint32
}

// routeGroups are the multicast groups of rtnetlink that carry what hopsack owns.
var routeGroups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_NETCONF,
}

func (m *Monitor) watchRoutes(ctx context.Context) error {
	return m.receive(ctx, unix.NETLINK_ROUTE, routeGroups, m.handleRoute)
}

// handleRoute kicks when a message of rtnetlink concerns hopsack.
func (m *Monitor) handleRoute(message syscall.NetlinkMessage) {
	kick, full := false, false
	m.mu.Lock()
	switch message.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		kick = m.linkMatters(message)
		full = kick
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		kick = m.addrMatters(message.Data)
		full = kick
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		kick = m.routeMatters(message.Data)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		kick = m.neighMatters(message.Data)
	case unix.RTM_NEWNETCONF:
		kick = m.netconfMatters(message.Data)
	}
	m.mu.Unlock()
	if kick {
		m.kick(full)
	}
}

// ours says whether a device is hopsack's or the underlay. The caller holds the lock, here and below.
func (m *Monitor) ours(name string) bool {
	_, own := m.interest.Devices[name]
	return own || name == m.interest.Underlay
}

// linkMatters compares a device with what was last seen of it: a pod that joins the bridge changes nothing of the bridge
// that matters.
func (m *Monitor) linkMatters(message syscall.NetlinkMessage) bool {
	if len(message.Data) < unix.SizeofIfInfomsg {
		return false
	}
	info := nl.DeserializeIfInfomsg(message.Data)
	if info.Family == unix.AF_BRIDGE {
		return false // a bridge's view of its port
	}
	attrs := attributes(message.Data, unix.SizeofIfInfomsg)
	now := linkState{
		name: string(bytes.TrimRight(attrs[unix.IFLA_IFNAME], "\x00")),
		up:   info.Flags&unix.IFF_UP != 0,
		mtu:  native32(attrs[unix.IFLA_MTU]), master: native32(attrs[unix.IFLA_MASTER]),
	}
	copy(now.mac[:], attrs[unix.IFLA_ADDRESS])
	before, known := m.links[info.Index]
	if message.Header.Type == unix.RTM_DELLINK {
		delete(m.links, info.Index)
		return m.ours(now.name) || m.interest.Underlay == ""
	}
	if !m.ours(now.name) && !m.ours(before.name) {
		delete(m.links, info.Index)
		return m.interest.Underlay == ""
	}
	m.links[info.Index] = now
	return !known || before != now
}

// index says whether a device index is that of a device of interest. Indexes that were never seen may be.
func (m *Monitor) index(i int32) bool {
	_, seen := m.links[i]
	return seen || m.interest.Underlay == ""
}

func (m *Monitor) addrMatters(data []byte) bool {
	return len(data) >= unix.SizeofIfAddrmsg && m.index(int32(nl.NativeEndian().Uint32(data[4:])))
}

// routeMatters lets through hopsack's routes, others' routes to pods, and what decides how peers are reached.
func (m *Monitor) routeMatters(data []byte) bool {
	if len(data) < unix.SizeofRtMsg {
		return false
	}
	header := nl.DeserializeRtMsg(data)
	if header.Table != unix.RT_TABLE_MAIN {
		return false
	}
	if int(header.Protocol) == m.interest.Protocol {
		return true
	}
	attrs := attributes(data, unix.SizeofRtMsg)
	if addr, ok := netip.AddrFromSlice(attrs[unix.RTA_DST]); ok {
		for _, p := range m.interest.PodNetworks {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return header.Dst_len == 0 || m.index(int32(native32(attrs[unix.RTA_OIF])))
}

// neighMatters lets through entries on hopsack's tunnels. The bridge's neighbours are pods, and the underlay's are learnt.
func (m *Monitor) neighMatters(data []byte) bool {
	const sizeofNdMsg = 12 // struct ndmsg: family, padding, ifindex at byte 4
	if len(data) < sizeofNdMsg {
		return false
	}
	link, seen := m.links[int32(nl.NativeEndian().Uint32(data[4:]))]
	return seen && m.interest.tunnel(link.name)
}

// netconfMatters lets through changes of rp_filter and forwarding on devices of interest, or on all.
func (m *Monitor) netconfMatters(data []byte) bool {
	const (
		header          = 4 // struct netconfmsg: family, padded
		ifindexAll      = -1
		attrIfindex     = 1
		attrForwarding  = 2
		attrReverseFilt = 3
	)
	attrs := attributes(data, header)
	_, forwarding := attrs[attrForwarding]
	_, filter := attrs[attrReverseFilt]
	i := int32(native32(attrs[attrIfindex]))
	return (forwarding || filter) && (i == ifindexAll || m.index(i))
}

func native32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return nl.NativeEndian().Uint32(b)
}
