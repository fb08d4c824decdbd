package monitor

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

const routeProtocol = dataplane.RouteProtocol

// linkMessage is what matters of a device.
type linkMessage struct {
	index int
	name  string
	alias string
	kind  string
	mac   network.MAC
	mtu   int
	// flags are those a person or the cable sets: IFF_UP and IFF_LOWER_UP.
	flags    uint32
	local    netip.Addr
	learning bool
	master   int
}

func parseLink(body []byte) (linkMessage, bool) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return linkMessage{}, false
	}
	msg := nl.DeserializeIfInfomsg(body)
	l := linkMessage{index: int(msg.Index), flags: msg.Flags & (unix.IFF_UP | unix.IFF_LOWER_UP)}
	for typ, value := range attr.All(body[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = attr.String(value)
		case unix.IFLA_IFALIAS:
			l.alias = attr.String(value)
		case unix.IFLA_MTU:
			l.mtu = int(attr.Uint32(value))
		case unix.IFLA_ADDRESS:
			if len(value) == len(l.mac) {
				l.mac = network.MAC(value)
			}
		case unix.IFLA_MASTER:
			l.master = int(attr.Uint32(value))
		case unix.IFLA_LINKINFO:
			l.readInfo(value)
		}
	}
	return l, true
}

func (l *linkMessage) readInfo(info []byte) {
	l.kind = attr.String(attr.Find(info, nl.IFLA_INFO_KIND))
	if l.kind != string(desired.KindVXLAN) {
		return
	}
	for typ, value := range attr.All(attr.Find(info, nl.IFLA_INFO_DATA)) {
		switch typ {
		case nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6:
			l.local = addrFrom(value)
		case nl.IFLA_VXLAN_LEARNING:
			l.learning = len(value) > 0 && value[0] != 0
		}
	}
}

// is says whether the device is as wanted. Its carrier is not hopsack's to decide.
func (l linkMessage) is(want desired.Link) bool {
	return l.kind == string(want.Kind) && l.alias == dataplane.Alias && (l.mac == want.MAC || want.Kind == desired.KindTUN) && l.mtu == want.MTU &&
		l.flags&unix.IFF_UP != 0 && (want.Kind != desired.KindVXLAN || !l.learning && l.master == 0 && l.local == want.Local)
}

type addrMessage struct {
	index  int
	prefix netip.Prefix
	scope  desired.Scope
	flags  uint32
}

// usableFlags are those that say whether an address can be used.
const usableFlags = unix.IFA_F_TENTATIVE | unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED

func parseAddr(body []byte) (addrMessage, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return addrMessage{}, false
	}
	msg := nl.DeserializeIfAddrmsg(body)
	var local, address netip.Addr
	flags := uint32(msg.Flags)
	for typ, value := range attr.All(body[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			local = addrFrom(value)
		case unix.IFA_ADDRESS:
			address = addrFrom(value)
		case unix.IFA_FLAGS:
			flags = attr.Uint32(value)
		}
	}
	if !local.IsValid() {
		local = address
	}
	out := addrMessage{index: int(msg.Index), prefix: netip.PrefixFrom(local, int(msg.Prefixlen)), flags: flags & usableFlags}
	switch msg.Scope {
	case unix.RT_SCOPE_UNIVERSE:
		out.scope = desired.ScopeGlobal
	case unix.RT_SCOPE_LINK:
		out.scope = desired.ScopeLink
	}
	return out, out.prefix.IsValid()
}

type routeMessage struct {
	table       int
	prefix      netip.Prefix
	protocol    uint8
	unreachable bool
	index       int
	gateway     netip.Addr
	source      netip.Addr
	mtu         uint32
}

// parseRoute is not ok for routes that the kernel cloned.
func parseRoute(body []byte) (routeMessage, bool) {
	if len(body) < unix.SizeofRtMsg {
		return routeMessage{}, false
	}
	msg := nl.DeserializeRtMsg(body)
	table := uint32(msg.Table)
	r := routeMessage{protocol: msg.Protocol, unreachable: msg.Type == unix.RTN_UNREACHABLE}
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for typ, value := range attr.All(body[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_TABLE:
			table = attr.Uint32(value)
		case unix.RTA_DST:
			dst = addrFrom(value)
		case unix.RTA_OIF:
			r.index = int(attr.Uint32(value))
		case unix.RTA_GATEWAY:
			r.gateway = addrFrom(value)
		case unix.RTA_PREFSRC:
			r.source = addrFrom(value)
		case unix.RTA_METRICS:
			r.mtu = attr.Uint32(attr.Find(value, unix.RTAX_MTU))
		}
	}
	r.prefix = netip.PrefixFrom(dst, int(msg.Dst_len))
	r.table = int(table)
	return r, r.prefix.IsValid() && msg.Flags&unix.RTM_F_CLONED == 0
}

// is says whether the route is as wanted, as far as events are compared: the pass compares all of it.
func (r routeMessage) is(want desired.Route, device string) bool {
	if want.Unreachable || r.unreachable {
		return want.Unreachable == r.unreachable
	}
	return device == want.Device && r.gateway == want.Gateway && r.source == want.Source && r.mtu == uint32(want.MTU)
}

type neighMessage struct {
	index     int
	fdb       bool
	permanent bool
	failed    bool
	mac       network.MAC
	ip        netip.Addr
}

// struct ndmsg (linux/neighbour.h).
const (
	ndmsgLen = 12
	ndmIndex = 4
	ndmState = 8
)

// parseNeigh is not ok for the entries the kernel makes for multicast and broadcast.
func parseNeigh(body []byte) (neighMessage, bool) {
	if len(body) < ndmsgLen {
		return neighMessage{}, false
	}
	state := binary.NativeEndian.Uint16(body[ndmState:])
	n := neighMessage{index: int(attr.Uint32(body[ndmIndex:])), fdb: body[0] == unix.AF_BRIDGE, permanent: state == netlink.NUD_PERMANENT, failed: state == netlink.NUD_FAILED}
	for typ, value := range attr.All(body[ndmsgLen:]) {
		switch typ {
		case netlink.NDA_DST:
			n.ip = addrFrom(value)
		case netlink.NDA_LLADDR:
			if len(value) == len(n.mac) {
				n.mac = network.MAC(value)
			}
		}
	}
	return n, state != netlink.NUD_NOARP
}

// linux/netconf.h, which x/sys does not have.
const (
	rtmNewNetconf    = 80
	netconfmsgLen    = 4 // one byte, padded
	netconfaIndex    = 1
	netconfaRPFilter = 3
	netconfAll       = -1
	strictFilter     = 1
)

type netconfMessage struct {
	index    int
	rpFilter uint32
}

func parseNetconf(body []byte) (netconfMessage, bool) {
	if len(body) < netconfmsgLen {
		return netconfMessage{}, false
	}
	var c netconfMessage
	for typ, value := range attr.All(body[netconfmsgLen:]) {
		switch typ {
		case netconfaIndex:
			c.index = int(int32(attr.Uint32(value)))
		case netconfaRPFilter:
			c.rpFilter = attr.Uint32(value)
		}
	}
	return c, true
}

// linux/netfilter/nf_tables.h: the table is attribute 1 of every message that has one.
const (
	nfgenmsgLen     = 4
	nftaTable       = 1
	nftaRuleChain   = 2
	nftaChainName   = 3
	nftMsgNewChain  = 3
	nftMsgDelChain  = 5
	nftMsgNewRule   = 6
	nftMsgDelRule   = 8
	nftMsgNewTable  = 0
	nftMsgDelTable  = 2
	nftTable        = "hopsack"
	nftFilterTable  = "filter"
	nftForwardChain = "FORWARD"
)

// seeNFTables looks for hopsack's table and for the FORWARD chains of iptables-nft.
func seeNFTables(typ uint16, body []byte) Cause {
	if len(body) < nfgenmsgLen || typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return 0
	}
	family, attrs := body[0], body[nfgenmsgLen:]
	table := attr.String(attr.Find(attrs, nftaTable))
	if family == unix.NFPROTO_INET && table == nftTable {
		return CauseFirewall
	}
	if table != nftFilterTable || family != unix.NFPROTO_IPV4 && family != unix.NFPROTO_IPV6 {
		return 0
	}
	var chain string
	switch typ & 0xff {
	case nftMsgNewTable, nftMsgDelTable:
		return CauseFirewall
	case nftMsgNewChain, nftMsgDelChain:
		chain = attr.String(attr.Find(attrs, nftaChainName))
	case nftMsgNewRule, nftMsgDelRule:
		chain = attr.String(attr.Find(attrs, nftaRuleChain))
	}
	if chain != nftForwardChain {
		return 0
	}
	return CauseFirewall
}

func addrFrom(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}
