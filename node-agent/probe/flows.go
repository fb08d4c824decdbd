package probe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// flows makes the node's connection tracking forget a probe's flow, so that the next packet starts a new one. A probe is to tell
// how new connections fare, and its ports are always the same: what was decided about the first packet, a translated
// source say, would otherwise hold for as long as somebody keeps asking. Only own flows are forgotten. nil forgets nothing.
type flows struct {
	handle nl.SocketHandle
}

// kernelSeconds bounds how long the kernel may take.
const kernelSeconds = 1

// openFlows opens a socket in the calling thread's namespace.
func openFlows() (*flows, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open connection tracking: %w", err)
	}
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: kernelSeconds}); err != nil {
		socket.Close()
		return nil, fmt.Errorf("set timeout of connection tracking: %w", err)
	}
	return &flows{nl.SocketHandle{Socket: socket}}, nil
}

func (f *flows) close() {
	if f != nil {
		f.handle.Close()
	}
}

// forget deletes the flow of a socket's packets to the port for probes at an address. That there is none is the usual case,
// and a kernel without connection tracking has no flows, so there is nothing to do about an error.
func (f *flows) forget(conn *net.UDPConn, at netip.Addr) {
	if f == nil {
		return
	}
	from, to := conn.LocalAddr().(*net.UDPAddr).AddrPort(), netip.AddrPortFrom(at, ListenPort)
	family, source, destination := uint8(unix.AF_INET), nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if to.Addr().Is6() {
		family, source, destination = unix.AF_INET6, nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: &f.handle}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	addresses := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	addresses.AddRtAttr(source, from.Addr().Unmap().AsSlice())
	addresses.AddRtAttr(destination, to.Addr().AsSlice())
	ports := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	ports.AddRtAttr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP})
	ports.AddRtAttr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, from.Port()))
	ports.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, to.Port()))
	req.AddData(tuple)
	_, _ = req.Execute(unix.NETLINK_NETFILTER, 0)
}
