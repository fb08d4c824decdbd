package monitor

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// filter decides which messages matter. It is used by one goroutine.
type filter struct {
	interest *Interest
	indexOf  func(name string) int
	// names are the devices of interest by index.
	names map[int]string
	// underlay is what was last seen of the underlay.
	underlay linkMessage
	// addrs are the addresses seen on other devices than hopsack's, with the flags that say whether they can be used.
	addrs map[addrKey]uint32
}

type addrKey struct {
	index  int
	prefix netip.Prefix
}

func newFilter(indexOf func(string) int) filter {
	return filter{indexOf: indexOf, interest: &Interest{}, names: map[int]string{}, addrs: map[addrKey]uint32{}}
}

// setInterest takes up what is wanted now.
func (f *filter) setInterest(i *Interest) {
	f.interest = i
	f.resolve()
}

// forget drops what was learnt from events, after some were lost.
func (f *filter) forget() {
	f.underlay, f.addrs = linkMessage{}, map[addrKey]uint32{}
	f.resolve()
}

// resolve looks up the devices of interest. One that does not exist yet announces itself.
func (f *filter) resolve() {
	clear(f.names)
	for _, name := range f.devices() {
		if index := f.indexOf(name); index != 0 {
			f.names[index] = name
		}
	}
}

func (f *filter) devices() []string {
	var out []string
	for name := range f.interest.State.Links {
		out = append(out, name)
	}
	for name := range f.interest.State.Loose {
		out = append(out, name)
	}
	if f.interest.Underlay != "" {
		out = append(out, f.interest.Underlay)
	}
	return out
}

// watched says whether events about a device of that name matter.
func (f *filter) watched(name string) bool {
	_, wanted := f.interest.State.Links[name]
	_, loose := f.interest.State.Loose[name]
	return wanted || loose || name == f.interest.Underlay && name != ""
}

// see says what a message means to hopsack, 0 for nothing.
func (f *filter) see(protocol int, typ uint16, port uint32, body []byte) Cause {
	if protocol == unix.NETLINK_NETFILTER {
		if port != 0 && port == f.interest.OwnPort {
			return 0
		}
		return seeNFTables(typ, body)
	}
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.seeLink(typ == unix.RTM_DELLINK, body)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return f.seeAddr(typ == unix.RTM_DELADDR, body)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return f.seeRoute(typ == unix.RTM_DELROUTE, body)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return f.seeNeigh(typ == unix.RTM_DELNEIGH, body)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return f.seeRule(typ == unix.RTM_DELRULE, body)
	case rtmNewNetconf:
		return f.seeNetconf(body)
	}
	return 0
}

// seeLink compares a device with what is wanted. Messages of the bridge family are about ports and come with every pod.
func (f *filter) seeLink(gone bool, body []byte) Cause {
	l, ok := parseLink(body)
	if !ok {
		return 0
	}
	if name, known := f.names[l.index]; known && (gone || name != l.name) {
		delete(f.names, l.index)
		return CauseLink
	}
	if gone {
		if l.kind == string(desired.KindVXLAN) {
			return CauseLink // it may have held a VNI and port that is wanted
		}
		return 0
	}
	if !f.watched(l.name) {
		return f.seePort(l)
	}
	f.names[l.index] = l.name
	if want, ok := f.interest.State.Links[l.name]; ok {
		if l.is(want) {
			return 0
		}
		return CauseLink
	}
	if l.name == f.interest.Underlay && l != f.underlay {
		f.underlay = l
		return CauseLink
	}
	return 0
}

// seePort looks for pods' ports that are not on the bridge. The plugin marks a port once it is there, and it stays there as
// long as the kernel speaks of it, so pods that start and stop show nothing here.
func (f *filter) seePort(l linkMessage) Cause {
	if _, pod := dataplane.PodPort(l.kind, l.alias); !pod || f.interest.State.Links[f.names[l.master]].Kind == desired.KindBridge {
		return 0
	}
	for _, want := range f.interest.State.Links {
		if want.Kind == desired.KindBridge {
			return CauseLink
		}
	}
	return 0
}

// seeAddr compares an address of hopsack's devices with what is wanted. On other devices every new or vanished global address
// matters: it may make or unmake the underlay. A lease or router advertisement renewed says nothing new.
func (f *filter) seeAddr(gone bool, body []byte) Cause {
	a, ok := parseAddr(body)
	if !ok {
		return 0
	}
	name := f.names[a.index]
	if _, own := f.interest.State.Links[name]; own {
		scope, wanted := f.interest.State.Addrs[desired.AddrKey{Device: name, Prefix: a.prefix}]
		switch {
		case wanted && (gone || scope != a.scope && a.prefix.Addr().Is4()):
			return CauseAddress
		case !wanted && !a.prefix.Addr().IsLinkLocalUnicast(): // come or gone: a foreign one that left was being complained about
			return CauseAddress
		}
		return 0
	}
	if a.prefix.Addr().IsLinkLocalUnicast() {
		return 0
	}
	key := addrKey{a.index, a.prefix}
	flags, known := f.addrs[key]
	if gone {
		delete(f.addrs, key)
		return CauseAddress
	}
	f.addrs[key] = a.flags
	if known && flags == a.flags {
		return 0
	}
	return CauseAddress
}

// seeTableRoute looks at hopsack's routes in other tables: those of probes.
func (f *filter) seeTableRoute(gone bool, r routeMessage) Cause {
	want, wanted := f.interest.State.Tables[r.table][r.prefix]
	switch {
	case r.protocol != routeProtocol && !wanted:
		return 0
	case r.protocol == routeProtocol && gone != wanted && (gone || r.is(want, f.names[r.index])):
		return 0
	}
	return CauseRule
}

// seeRule looks at hopsack's ip rules.
func (f *filter) seeRule(gone bool, body []byte) Cause {
	r, own := dataplane.ParseRule(body)
	if !own {
		return 0
	}
	_, wanted := f.interest.State.Rules[r.Rule]
	if wanted = wanted && !r.Odd && r.Priority == dataplane.RulePriority; gone != wanted {
		return 0
	}
	return CauseRule
}

// seeRoute looks at routes of table main: hopsack's, those at prefixes hopsack needs, default routes, and those of the
// underlay, which decide what it reaches.
func (f *filter) seeRoute(gone bool, body []byte) Cause {
	r, ok := parseRoute(body)
	if !ok {
		return 0
	}
	if r.table != unix.RT_TABLE_MAIN {
		return f.seeTableRoute(gone, r)
	}
	want, wanted := f.interest.State.Routes[r.prefix]
	switch {
	case r.protocol == routeProtocol && wanted && !gone && r.is(want, f.names[r.index]):
		return 0
	case r.protocol == routeProtocol && gone && !wanted:
		return 0
	case r.protocol == routeProtocol, wanted, r.prefix.Bits() == 0:
		return CauseRoute
	}
	if name := f.names[r.index]; name != "" && name == f.interest.Underlay && !r.prefix.Addr().IsLinkLocalUnicast() && !r.prefix.Addr().IsMulticast() {
		return CauseRoute
	}
	return 0
}

// seeNeigh compares entries of the tunnels with what is wanted. Those of the bridge come with every pod.
func (f *filter) seeNeigh(gone bool, body []byte) Cause {
	n, ok := parseNeigh(body)
	name := f.names[n.index]
	if !ok || f.interest.State.Links[name].Kind != desired.KindVXLAN {
		return 0
	}
	var same, wanted bool
	if n.fdb {
		var dst netip.Addr
		dst, wanted = f.interest.State.FDB[desired.FDBKey{Device: name, MAC: n.mac}]
		same = dst == n.ip
	} else {
		mac, found := f.interest.State.Neighs[desired.NeighKey{Device: name, IP: n.ip}]
		wanted, same = found, mac == n.mac
	}
	if !wanted && (gone || n.failed) || !gone && wanted && same && n.permanent {
		return 0 // an entry fails before it goes
	}
	return CauseNeigh
}

// seeNetconf looks at sysctls: forwarding and rp_filter for all devices, and rp_filter becoming strict where it must not be.
func (f *filter) seeNetconf(body []byte) Cause {
	c, ok := parseNetconf(body)
	if !ok {
		return 0
	}
	if c.index == netconfAll {
		return CauseSysctl
	}
	if _, loose := f.interest.State.Loose[f.names[c.index]]; loose && c.rpFilter == strictFilter {
		return CauseSysctl
	}
	return 0
}

// eachMessage walks the messages of a datagram. The port is that of the socket that asked for the change.
func eachMessage(b []byte, see func(typ uint16, port uint32, body []byte)) {
	for len(b) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return
		}
		see(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[12:]), b[unix.SizeofNlMsghdr:length])
		b = b[min((length+3)&^3, len(b)):]
	}
}
