package dataplane

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// kernelTimeout bounds every call; the kernel answers in microseconds, unless RTNL is held by something slow.
const kernelTimeout = 10 * time.Second

// Netlink is the kernel of the network namespace it was opened in. It keeps one handle, and one socket of its own for the
// requests the library has no words for. It may be used by one goroutine at a time.
type Netlink struct {
	handle *netlink.Handle
	raw    *nl.SocketHandle
}

var _ Kernel = (*Netlink)(nil)

// NewNetlink opens the sockets in the caller's network namespace.
func NewNetlink() (*Netlink, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := handle.SetSocketTimeout(kernelTimeout); err != nil {
		handle.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	socket, err := newRawSocket()
	if err != nil {
		handle.Close()
		return nil, err
	}
	return &Netlink{handle: handle, raw: &nl.SocketHandle{Socket: socket}}, nil
}

// newRawSocket asks for strict checking, without which the kernel ignores a dump's filters (Linux 4.20).
func newRawSocket() (*nl.NetlinkSocket, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	timeout := unix.NsecToTimeval(kernelTimeout.Nanoseconds())
	err = errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout),
		unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1))
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("set netlink socket options: %w", err)
	}
	return socket, nil
}

// Close closes the sockets.
func (k *Netlink) Close() {
	k.handle.Close()
	k.raw.Close()
}

// request starts a message that goes through the raw socket.
func (k *Netlink) request(typ, flags int) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(typ), Flags: unix.NLM_F_REQUEST | uint16(flags)},
		Sockets:  map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.raw},
	}
}

// CreateLink makes the device without a lower one, and leaves it down: a device that comes up before its MAC and address
// generation are set would advertise itself.
func (k *Netlink) CreateLink(name string, l desired.Link) error {
	if l.Kind == desired.KindTUN {
		if err := createTUN(name); err != nil {
			return err
		}
		return k.disableAddrGen(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}})
	}
	req := k.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, l.MAC[:]))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(string(l.Kind)))
	mtu := l.MTU
	switch l.Kind {
	case desired.KindBridge:
		// The kernel remembers that the MTU was chosen only when it is changed to it; a bridge that does not remember takes
		// the smallest MTU of its ports. So it starts with another one, and ChangeLink sets the right one.
		mtu--
	case desired.KindVXLAN:
		addVXLANData(info.AddRtAttr(nl.IFLA_INFO_DATA, nil), l)
	}
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return err
	}
	if l.Kind == desired.KindVXLAN {
		return k.disableAddrGen(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}})
	}
	return nil
}

// addVXLANData says what kind of tunnel it is. The library does not do: it cannot switch the outer checksum off. The inner
// packet has its own, and offloads that get the outer one wrong cost connections.
func addVXLANData(data *nl.RtAttr, l desired.Link) {
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(l.VNI))
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, l.Port))
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, []byte{0})
	data.AddRtAttr(localAttr(l.Local), l.Local.AsSlice())
	if l.Local.Is4() { // over IPv6 a checksum of zero is the exception, and both ends must agree on it
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_CSUM, []byte{0})
	}
}

func localAttr(local netip.Addr) int {
	if local.Is6() {
		return nl.IFLA_VXLAN_LOCAL6
	}
	return nl.IFLA_VXLAN_LOCAL
}

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE (linux/if_link.h), which x/sys does not have.
const addrGenModeNone = 1

// disableAddrGen keeps the kernel from giving the device an IPv6 link-local address; nobody listens there. A kernel without
// IPv6 gives none anyway.
func (k *Netlink) disableAddrGen(link netlink.Link) error {
	err := k.handle.LinkSetIP6AddrGenMode(link, addrGenModeNone)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// ChangeLink sets one attribute.
func (k *Netlink) ChangeLink(index int, what LinkAttr, want desired.Link) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	switch what {
	case AttrAlias:
		return k.handle.LinkSetAlias(link, Alias)
	case AttrMAC:
		return k.handle.LinkSetHardwareAddr(link, want.MAC.HardwareAddr())
	case AttrMTU:
		return k.handle.LinkSetMTU(link, want.MTU)
	case AttrUp:
		return k.handle.LinkSetUp(link)
	case AttrMaster:
		return k.handle.LinkSetNoMaster(link)
	case AttrLocal:
		return k.changeVXLAN(index, nl.NewRtAttr(localAttr(want.Local), want.Local.AsSlice()))
	case AttrLearning:
		return k.changeVXLAN(index, nl.NewRtAttr(nl.IFLA_VXLAN_LEARNING, []byte{0}))
	}
	return fmt.Errorf("change link: unknown attribute %q", what)
}

// changeVXLAN changes one attribute of a vxlan device in place. The kernel refuses a message that names the attributes which
// cannot change, even with the values they have, so that the library's LinkModify does not do.
func (k *Netlink) changeVXLAN(index int, data *nl.RtAttr) error {
	req := k.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(string(desired.KindVXLAN)))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddChild(data)
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// DeleteLink deletes a device.
func (k *Netlink) DeleteLink(index int) error {
	err := k.handle.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	return ignore(err, unix.ENODEV)
}

// SetPort takes two requests, as the kernel knows the settings of a port only once it is one.
func (k *Netlink) SetPort(index, bridge int, p handoff.Port) error {
	if err := k.handle.LinkSetMasterByIndex(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, bridge); err != nil {
		return err
	}
	req := k.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_BRPORT_MODE, flagAttr(p.Hairpin))
	info.AddRtAttr(nl.IFLA_BRPORT_ISOLATED, flagAttr(p.Isolated))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func flagAttr(on bool) []byte {
	if on {
		return []byte{1}
	}
	return []byte{0}
}

// AddAddr adds an address; for IPv6 without the second of duplicate detection in which nothing could use it.
func (k *Netlink) AddAddr(a Addr) error {
	out := netlinkAddr(a)
	if a.Prefix.Addr().Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return ignore(k.handle.AddrAdd(nil, out), unix.EEXIST)
}

// DeleteAddr deletes an address.
func (k *Netlink) DeleteAddr(a Addr) error {
	return ignore(k.handle.AddrDel(nil, netlinkAddr(a)), unix.EADDRNOTAVAIL)
}

// scopes are the kernel's numbers.
var scopes = map[desired.Scope]int{
	desired.ScopeGlobal: unix.RT_SCOPE_UNIVERSE,
	desired.ScopeLink:   unix.RT_SCOPE_LINK,
}

func netlinkAddr(a Addr) *netlink.Addr {
	return &netlink.Addr{LinkIndex: a.Index, IPNet: ipNet(a.Prefix), Scope: scopes[a.Scope], Label: a.Label}
}

// SetNeigh replaces rather than appends: an appended FDB entry would make the VTEP one with two places.
func (k *Netlink) SetNeigh(n Neigh) error {
	return k.handle.NeighSet(netlinkNeigh(n))
}

// DeleteNeigh deletes an entry.
func (k *Netlink) DeleteNeigh(n Neigh) error {
	return ignore(k.handle.NeighDel(netlinkNeigh(n)), unix.ENOENT)
}

func netlinkNeigh(n Neigh) *netlink.Neigh {
	out := &netlink.Neigh{
		LinkIndex: n.Index, State: netlink.NUD_PERMANENT, IP: n.IP.AsSlice(), HardwareAddr: n.MAC.HardwareAddr(),
	}
	if n.FDB {
		out.Family, out.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
	}
	return out
}

// SetRoute adds or replaces a route.
func (k *Netlink) SetRoute(r Route, replace bool) error {
	if replace {
		return k.handle.RouteReplace(netlinkRoute(r))
	}
	return k.handle.RouteAdd(netlinkRoute(r))
}

// DeleteRoute deletes the route of hopsack's protocol with the same prefix, metric and way.
func (k *Netlink) DeleteRoute(r Route) error {
	out := netlinkRoute(r)
	out.Scope = unix.RT_SCOPE_NOWHERE // any
	return ignore(k.handle.RouteDel(out), unix.ESRCH)
}

func netlinkRoute(r Route) *netlink.Route {
	out := &netlink.Route{
		Dst: ipNet(r.Prefix), Table: cmp.Or(r.Table, unix.RT_TABLE_MAIN), Protocol: RouteProtocol, Type: unix.RTN_UNICAST,
		Priority: int(r.Metric), Tos: int(r.TOS), LinkIndex: r.Index, MTU: int(r.MTU),
	}
	switch {
	case r.Unreachable:
		out.Type, out.LinkIndex = unix.RTN_UNREACHABLE, 0
	case r.Gateway.IsValid():
		out.Gw = r.Gateway.AsSlice()
	case r.Prefix.Addr().Is4():
		out.Scope = unix.RT_SCOPE_LINK
	}
	if r.Source.IsValid() {
		out.Src = r.Source.AsSlice()
	}
	if r.OnLink {
		out.Flags = int(netlink.FLAG_ONLINK)
	}
	return out
}

// IPV4_DEVCONF_RP_FILTER (linux/ip.h), which x/sys does not have.
const devconfRPFilter = 8

// SetRPFilter sets rp_filter by netlink: NET_ADMIN is enough for it, while /proc/sys is read-only in a container that is not
// privileged.
func (k *Netlink) SetRPFilter(index int, value int) error {
	req := k.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	inet := spec.AddRtAttr(unix.AF_INET, nil)
	inet.AddRtAttr(unix.IFLA_INET_CONF, nil).AddRtAttr(devconfRPFilter, binary.NativeEndian.AppendUint32(nil, uint32(value)))
	req.AddData(spec)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ignore drops an error that says that the work is done already.
func ignore(err error, done error) error {
	if errors.Is(err, done) {
		return nil
	}
	return err
}

func macFrom(b []byte) network.MAC {
	if len(b) != len(network.MAC{}) {
		return network.MAC{}
	}
	return network.MAC(b)
}
