package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// dumpTries is how often a dump that the kernel interrupted is begun again before the pass gives up.
const dumpTries = 5

// retried runs read until it was not interrupted. What an interrupted dump returned is thrown away: acting on it would
// delete what it happened not to show.
func retried[T any](what string, read func() (T, error)) (T, error) {
	var out T
	var err error
	for range dumpTries {
		if out, err = read(); err == nil {
			return out, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	var none T
	return none, fmt.Errorf("read %s: %w", what, err)
}

// Links reads all devices.
func (k *Netlink) Links() ([]Link, error) {
	req := k.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	var out []Link
	var bad error
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			bad = err
			return true // the rest must be read, or it would be the answer to the next request
		}
		link := linkFrom(l)
		link.BridgePort = portFrom(m[unix.SizeofIfInfomsg:])
		out = append(out, link)
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	return out, nil
}

// portFrom reads how a bridge's port is set, which the library does not.
func portFrom(attrs []byte) handoff.Port {
	info := attr.Find(attrs, unix.IFLA_LINKINFO)
	if attr.String(attr.Find(info, nl.IFLA_INFO_SLAVE_KIND)) != string(desired.KindBridge) {
		return handoff.Port{}
	}
	var p handoff.Port
	for typ, value := range attr.All(attr.Find(info, nl.IFLA_INFO_SLAVE_DATA)) {
		on := len(value) > 0 && value[0] != 0
		switch typ {
		case nl.IFLA_BRPORT_MODE:
			p.Hairpin = on
		case nl.IFLA_BRPORT_ISOLATED:
			p.Isolated = on
		}
	}
	return p
}

func linkFrom(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, Alias: a.Alias, Kind: desired.LinkKind(l.Type()), MAC: macFrom(a.HardwareAddr),
		MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Master: a.MasterIndex,
	}
	if v, ok := l.(*netlink.Vxlan); ok {
		out.VNI, out.Port, out.Learning, out.Lower = uint32(v.VxlanId), uint16(v.Port), v.Learning, v.VtepDevIndex
		out.Local = addrFrom(v.SrcAddr)
	}
	if v, ok := l.(*netlink.Tuntap); ok && v.Mode == netlink.TUNTAP_MODE_TUN {
		const flags = netlink.TUNTAP_MULTI_QUEUE_DEFAULTS | netlink.TUNTAP_VNET_HDR
		out.Kind, out.Port, out.Queues = desired.KindTUN, tunPort(a.Name), v.Flags&flags == flags && !v.NonPersist
	}
	return out
}

// Addrs reads all addresses.
func (k *Netlink) Addrs() ([]Addr, error) {
	found, err := k.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	out := make([]Addr, 0, len(found))
	for _, a := range found {
		ones, _ := a.Mask.Size()
		out = append(out, Addr{
			Index: a.LinkIndex, Prefix: netip.PrefixFrom(addrFrom(a.IP), ones), Scope: scopeFrom(a.Scope), Label: a.Label,
		})
	}
	return out, nil
}

// scopeFrom names the scopes hopsack uses; the others only have to differ from them.
func scopeFrom(scope int) desired.Scope {
	for name, number := range scopes {
		if number == scope {
			return name
		}
	}
	return desired.Scope(fmt.Sprint(scope))
}

// FDB reads a vxlan device's forwarding entries.
func (k *Netlink) FDB(index int) ([]Neigh, error) {
	req := k.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.AddData(&netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index)})
	return readNeighs(req, index, unix.AF_BRIDGE)
}

// Neighs reads a device's ARP and NDP entries, those the kernel made for multicast and broadcast left out.
func (k *Netlink) Neighs(index int) ([]Neigh, error) {
	req := k.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.AddData(&netlink.Ndmsg{Family: unix.AF_UNSPEC})
	req.AddData(nl.NewRtAttr(netlink.NDA_IFINDEX, nl.Uint32Attr(uint32(index))))
	return readNeighs(req, index, unix.AF_UNSPEC)
}

// struct ndmsg (linux/neighbour.h).
const (
	ndmsgLen   = 12
	ndmIndex   = 4
	ndmState   = 8
	ndmFamily  = 0
	oddFDBAttr = 1<<netlink.NDA_PORT | 1<<netlink.NDA_VNI | 1<<netlink.NDA_IFINDEX
)

func readNeighs(req *nl.NetlinkRequest, index int, family byte) ([]Neigh, error) {
	var out []Neigh
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH, func(m []byte) bool {
		if len(m) < ndmsgLen || attr.Uint32(m[ndmIndex:]) != uint32(index) || (m[ndmFamily] == unix.AF_BRIDGE) != (family == unix.AF_BRIDGE) {
			return true
		}
		if n, ok := neighFrom(m); ok {
			out = append(out, n)
		}
		return true
	})
	return out, err
}

func neighFrom(m []byte) (Neigh, bool) {
	state := binary.NativeEndian.Uint16(m[ndmState:])
	if state == netlink.NUD_NOARP {
		return Neigh{}, false
	}
	out := Neigh{Index: int(attr.Uint32(m[ndmIndex:])), FDB: m[ndmFamily] == unix.AF_BRIDGE, Odd: state != netlink.NUD_PERMANENT}
	for typ, value := range attr.All(m[ndmsgLen:]) {
		switch typ {
		case netlink.NDA_DST:
			out.IP = addrFrom(value)
		case netlink.NDA_LLADDR:
			out.MAC = macFrom(value)
		default:
			out.Odd = out.Odd || out.FDB && typ < 32 && 1<<typ&oddFDBAttr != 0
		}
	}
	return out, true
}

// Routes reads table main.
func (k *Netlink) Routes(contested func(netip.Prefix) bool) ([]Route, error) {
	var out []Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := k.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Table: unix.RT_TABLE_MAIN}})
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			r, ok := routeFrom(m)
			if ok && r.Table == 0 && (r.Protocol == RouteProtocol || contested(r.Prefix)) {
				out = append(out, r)
			}
			return true
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no such table: a kernel without IPv6, or one whose main table has never been used
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// defaultIPv6Metric is what the kernel makes of metric 0 (IP6_RT_PRIO_USER).
const defaultIPv6Metric = 1024

// TableRoutes reads a table, which the kernel finds faster than it would look through all.
func (k *Netlink) TableRoutes(table int) ([]Route, error) {
	var out []Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := k.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
		req.AddData(msg)
		if table == 0 {
			msg.Protocol = RouteProtocol
		} else {
			req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(table))))
		}
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			r, ok := routeFrom(m)
			if ok && (table == 0 && r.Table != 0 && r.Protocol == RouteProtocol || table != 0 && r.Table == table) {
				out = append(out, r)
			}
			return true
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a table that is not there, or a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// routeFrom reads a message.
func routeFrom(m []byte) (Route, bool) {
	if len(m) < unix.SizeofRtMsg {
		return Route{}, false
	}
	msg := nl.DeserializeRtMsg(m)
	out := Route{
		TOS: msg.Tos, Protocol: msg.Protocol, Unreachable: msg.Type == unix.RTN_UNREACHABLE,
		OnLink: msg.Flags&unix.RTNH_F_ONLINK != 0,
		Odd:    msg.Type != unix.RTN_UNREACHABLE && msg.Type != unix.RTN_UNICAST || msg.Src_len != 0 || msg.Flags&unix.RTM_F_CLONED != 0,
	}
	table := uint32(msg.Table)
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for typ, value := range attr.All(m[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_TABLE:
			table = attr.Uint32(value)
		case unix.RTA_DST:
			dst = addrFrom(value)
		default:
			out.read(typ, value)
		}
	}
	out.Prefix = netip.PrefixFrom(dst, int(msg.Dst_len))
	if dst.Is6() && out.Metric == defaultIPv6Metric {
		out.Metric = 0
	}
	if out.Unreachable {
		out.Index = 0 // the kernel hangs IPv6's on lo
	}
	if table != unix.RT_TABLE_MAIN {
		out.Table = int(table)
	}
	return out, out.Prefix.IsValid()
}

// rtaNexthopID is RTA_NH_ID (linux/rtnetlink.h), which x/sys does not have.
const rtaNexthopID = 30

// read takes up one attribute. One that hopsack never sets makes the route odd.
func (r *Route) read(typ uint16, value []byte) {
	switch typ {
	case unix.RTA_GATEWAY:
		r.Gateway = addrFrom(value)
	case unix.RTA_OIF:
		r.Index = int(attr.Uint32(value))
	case unix.RTA_PREFSRC:
		r.Source = addrFrom(value)
	case unix.RTA_PRIORITY:
		r.Metric = attr.Uint32(value)
	case unix.RTA_METRICS:
		for metric, v := range attr.All(value) {
			if metric == unix.RTAX_MTU {
				r.MTU = attr.Uint32(v)
			} else {
				r.Odd = true
			}
		}
	case unix.RTA_VIA: // a gateway of the other family: struct rtvia, the address after two bytes
		if len(value) > 2 {
			r.Gateway = addrFrom(value[2:])
		}
		r.Odd = true
	case unix.RTA_MULTIPATH, unix.RTA_ENCAP, unix.RTA_FLOW, rtaNexthopID:
		r.Odd = true
	}
}

func addrFrom(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}
