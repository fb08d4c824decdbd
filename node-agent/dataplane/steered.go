package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// lookAgain is when the kernel is asked again: a rule of somebody else's that goes is no event.
const lookAgain = 5 * time.Second

// checkRules asks the kernel which table it would take for a probe of every path. Whatever sends probes elsewhere, a rule of
// somebody else's that comes first or a rule that had to be left out, has them prove another path.
func (p *pass) checkRules() {
	if len(p.want.Rules) == 0 || p.want.Firewall == nil || !p.ok(KindLink, KindRoute, KindRule) {
		return
	}
	bridge, ok := p.usable(p.want.Firewall.Bridge)
	if !ok {
		return
	}
	rules := make([]desired.Rule, 0, len(p.want.Rules))
	for r := range p.want.Rules {
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b desired.Rule) int { return int(a.Port) - int(b.Port) })
	for _, r := range rules {
		to, ok := probedAddr(p.want.Tables[r.Table])
		if !ok {
			continue
		}
		table, err := p.kernel.TableOf(r, bridge, to)
		if err != nil || table == r.Table { // where there is no way at all, a probe proves nothing wrong
			continue
		}
		why := fmt.Sprintf("an ip rule comes before priority %d", RulePriority)
		if p.tables.held[r.Table] {
			why = "that table cannot be completed"
		}
		p.problem(v1alpha1.ReasonForeignRule, "packets from %s with UDP source port %d are to use table %d, and use table %d: %s",
			r.Source, r.Port, r.Table, table, why)
		if p.again == 0 {
			p.again = lookAgain
		}
	}
}

// probedAddr is the address that some peer is probed at by the routes of a table: the second one of a subnet.
func probedAddr(table map[netip.Prefix]desired.Route) (netip.Addr, bool) {
	var first netip.Prefix
	for prefix, r := range table {
		if !r.Unreachable && (!first.IsValid() || prefix.Compare(first) < 0) {
			first = prefix
		}
	}
	if !first.IsValid() {
		return netip.Addr{}, false
	}
	return first.Addr().Next().Next(), true
}

// TableOf asks the kernel where it would look up the way of a packet that the rule is for.
func (k *Netlink) TableOf(r desired.Rule, from int, to netip.Addr) (int, error) {
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Flags: unix.RTM_F_LOOKUP_TABLE, Dst_len: uint8(to.BitLen()), Src_len: uint8(to.BitLen())}}
	if to.Is6() {
		msg.Family = unix.AF_INET6
	}
	req := k.request(unix.RTM_GETROUTE, 0)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, to.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_SRC, r.Source.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_IIF, nl.Uint32Attr(uint32(from))))
	req.AddData(nl.NewRtAttr(unix.RTA_IP_PROTO, []byte{unix.IPPROTO_UDP}))
	req.AddData(nl.NewRtAttr(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, r.Port)))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if len(m) < unix.SizeofRtMsg {
			continue
		}
		table := int(nl.DeserializeRtMsg(m).Table)
		for typ, value := range attr.All(m[unix.SizeofRtMsg:]) {
			if typ == unix.RTA_TABLE {
				table = int(attr.Uint32(value))
			}
		}
		return table, nil
	}
	return 0, errors.New("look up a route: no answer")
}
