package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// elementChange adds keys to a set of hopsack's table, or deletes them.
type elementChange struct {
	set    string
	keys   [][]byte
	delete bool
}

// errRulesChanged says that somebody was faster to change any table.
var errRulesChanged = errors.New("nftables changed meanwhile")

// change makes all changes in one transaction, on condition that the generation is still the given one; it is one more
// afterwards. A peer that joins would otherwise cost a process. Errors: errRulesChanged; ENOENT when an element to be
// deleted is not there.
func (n *netfilter) change(generation uint32, changes []elementChange) error {
	handle := n.sockets[unix.NETLINK_NETFILTER]
	begin := batchMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFNL_SUBSYS_NFTABLES, unix.AF_UNSPEC)
	begin.AddData(nl.NewRtAttr(unix.NFNL_BATCH_GENID, binary.BigEndian.AppendUint32(nil, generation)))
	batch := []*nl.NetlinkRequest{begin}
	for _, c := range changes {
		batch = append(batch, c.message())
	}
	batch[len(batch)-1].Flags |= unix.NLM_F_ACK // one answer for all: what fails answers anyway
	batch = append(batch, batchMessage(unix.NFNL_MSG_BATCH_END, 0, unix.NFNL_SUBSYS_NFTABLES, unix.AF_UNSPEC))
	seq := atomic.AddUint32(&handle.Seq, 1)
	var out []byte
	for _, m := range batch {
		m.Seq = seq
		out = append(out, m.Serialize()...)
	}
	if err := unix.Sendto(handle.Socket.GetFd(), out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send nftables elements: %w", err)
	}
	return receiveAck(handle.Socket, seq)
}

// receiveAck waits for the answer to a batch.
func receiveAck(socket *nl.NetlinkSocket, seq uint32) error {
	const errnoLen = 4
	for {
		answers, _, err := socket.Receive()
		if err != nil {
			return fmt.Errorf("receive nftables answer: %w", err)
		}
		for _, m := range answers {
			if m.Header.Seq != seq || m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < errnoLen {
				continue
			}
			switch errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); errno {
			case 0:
				return nil
			case unix.ERESTART:
				return errRulesChanged
			default:
				return fmt.Errorf("write nftables elements: %w", errno)
			}
		}
	}
}

// message is the change of one set.
func (c elementChange) message() *nl.NetlinkRequest {
	typ, flags := unix.NFT_MSG_NEWSETELEM, uint16(unix.NLM_F_CREATE)
	if c.delete {
		typ, flags = unix.NFT_MSG_DELSETELEM, 0
	}
	m := batchMessage(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, 0, unix.NFPROTO_INET)
	m.AddData(text(unix.NFTA_SET_ELEM_LIST_TABLE, TableName))
	m.AddData(text(unix.NFTA_SET_ELEM_LIST_SET, c.set))
	list := nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, nil)
	for _, key := range c.keys {
		element := list.AddRtAttr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, nil)
		element.AddRtAttr(unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, nil).AddRtAttr(unix.NFTA_DATA_VALUE, key)
	}
	m.AddData(list)
	return m
}

func batchMessage(typ int, flags uint16, resource uint16, family byte) *nl.NetlinkRequest {
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(typ), Flags: unix.NLM_F_REQUEST | flags}}
	m.AddData(nfgenmsg{family: family, resource: resource})
	return m
}
