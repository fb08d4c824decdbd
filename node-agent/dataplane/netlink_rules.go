package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/attr"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// struct fib_rule_hdr (linux/fib_rules.h) has the layout of struct rtmsg.
const (
	ruleHeaderLen = unix.SizeofRtMsg
	frActToTable  = 1         // FR_ACT_TO_TBL
	ruleInvert    = 1 << 1    // FIB_RULE_INVERT
	portRangeLen  = 2 + 2     // struct fib_rule_port_range: first and last, in the machine's order
	noSuppression = 1<<32 - 1 // what the kernel shows where nothing is suppressed
)

// Rules reads hopsack's rules of both families.
func (k *Netlink) Rules() ([]Rule, error) {
	var out []Rule
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := k.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWRULE, func(m []byte) bool {
			if r, own := ParseRule(m); own {
				out = append(out, r)
			}
			return true
		})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without IPv6, or without rules for it
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ParseRule reads a message about an ip rule, and says whether the rule is hopsack's.
func ParseRule(m []byte) (r Rule, own bool) {
	if len(m) < ruleHeaderLen {
		return Rule{}, false
	}
	msg := nl.DeserializeRtMsg(m)
	r.IPv6, r.Table = msg.Family == unix.AF_INET6, int(msg.Table)
	bits, protocol := int(msg.Src_len), byte(0)
	r.Odd = msg.Dst_len != 0 || msg.Tos != 0 || msg.Type != frActToTable || msg.Flags&ruleInvert != 0
	for typ, value := range attr.All(m[ruleHeaderLen:]) {
		switch typ {
		case nl.FRA_SRC:
			r.Source = addrFrom(value)
			r.Odd = r.Odd || bits != r.Source.BitLen()
		case nl.FRA_PRIORITY:
			r.Priority = attr.Uint32(value)
		case nl.FRA_TABLE:
			r.Table = int(attr.Uint32(value))
		case nl.FRA_PROTOCOL:
			own = len(value) > 0 && value[0] == RouteProtocol
		case nl.FRA_IP_PROTO:
			if len(value) == 0 {
				continue
			}
			protocol = value[0]
		case nl.FRA_SPORT_RANGE:
			if len(value) >= portRangeLen {
				r.Port = binary.NativeEndian.Uint16(value)
				r.Odd = r.Odd || binary.NativeEndian.Uint16(value[2:]) != r.Port
			}
		case nl.FRA_SUPPRESS_PREFIXLEN, nl.FRA_SUPPRESS_IFGROUP:
			r.Odd = r.Odd || attr.Uint32(value) != noSuppression
		case nl.FRA_IIFNAME, nl.FRA_OIFNAME, nl.FRA_FWMARK, nl.FRA_FWMASK, nl.FRA_DPORT_RANGE, nl.FRA_UID_RANGE, nl.FRA_TUN_ID:
			r.Odd = true
		}
	}
	r.Odd = r.Odd || protocol != unix.IPPROTO_UDP
	return r, own
}

// AddRule adds a rule.
func (k *Netlink) AddRule(r desired.Rule) error {
	req := k.request(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	addRule(req, Rule{Rule: r, Priority: RulePriority, IPv6: r.Source.Is6()})
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return ignore(err, unix.EEXIST)
}

// DeleteRule deletes the first rule that has all that r has.
func (k *Netlink) DeleteRule(r Rule) error {
	req := k.request(unix.RTM_DELRULE, unix.NLM_F_ACK)
	addRule(req, r)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return ignore(err, unix.ENOENT)
}

func addRule(req *nl.NetlinkRequest, r Rule) {
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: frActToTable}}
	if r.IPv6 {
		msg.Family = unix.AF_INET6
	}
	if r.Odd {
		msg.Type = 0 // whatever it does
	}
	req.AddData(msg)
	if r.Source.IsValid() && !r.Odd {
		msg.Src_len = uint8(r.Source.BitLen())
		req.AddData(nl.NewRtAttr(nl.FRA_SRC, r.Source.AsSlice()))
	}
	req.AddData(nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(r.Priority)))
	req.AddData(nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	req.AddData(nl.NewRtAttr(nl.FRA_PROTOCOL, []byte{RouteProtocol}))
	if r.Port != 0 {
		if !r.Odd {
			req.AddData(nl.NewRtAttr(nl.FRA_IP_PROTO, []byte{unix.IPPROTO_UDP}))
		}
		ports := binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, r.Port), r.Port)
		req.AddData(nl.NewRtAttr(nl.FRA_SPORT_RANGE, ports))
	}
}

// createTUN makes a TUN device that stays when the process that serves it is gone, so that an agent's restart costs a gap and
// not the routes. Its queues and headers cannot be changed later. It is made in the network namespace of the calling thread.
func createTUN(name string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		if errors.Is(err, unix.EBUSY) {
			return unix.EEXIST
		}
		return fmt.Errorf("make the device: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep the device: %w", err)
	}
	return setQueueLength(req.Name())
}

// queueLength is how many packets each queue of a TUN device holds for the process that serves it. The kernel's 500 are full
// after a quarter of a second without the processor at 2,000 packets a second, which a busy node sees.
const queueLength = 4096

// setQueueLength gives a TUN device queues of queueLength, those that are attached later too.
func setQueueLength(name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	req.SetUint32(queueLength)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFTXQLEN, req); err != nil {
		return fmt.Errorf("set length of queues: %w", err)
	}
	return nil
}
