package monitor

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds the burst of a node's worth of peers, in bytes; past it the kernel says ENOBUFS.
const receiveBuffer = 4 << 20

// receive subscribes to groups and calls handle for every message until ctx ends or the socket fails. Lost messages ask for
// a full pass and are no failure.
func (m *Monitor) receive(ctx context.Context, protocol int, groups []uint, handle func(syscall.NetlinkMessage)) error {
	socket, err := nl.Subscribe(protocol, groups...)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer socket.Close()
	if err := socket.SetReceiveBufferSize(receiveBuffer, true); err != nil {
		return fmt.Errorf("set the receive buffer: %w", err)
	}
	// A read that waits is ended by a timeout: closing the socket under it would be a race.
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: 1}); err != nil {
		return fmt.Errorf("set the receive timeout: %w", err)
	}
	for ctx.Err() == nil {
		messages, from, err := socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			m.kick(true)
			continue
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case from.Pid != nl.PidKernel:
			continue // anybody may send to a netlink socket; only the kernel is believed
		}
		for _, message := range messages {
			handle(message)
		}
	}
	return nil
}

// nlaTypeMask takes the flags off an attribute's type (NLA_TYPE_MASK in linux/netlink.h).
const nlaTypeMask = 0x3fff

// attributes finds the values of a message's top-level attributes after a header of the given size.
func attributes(data []byte, header int) map[uint16][]byte {
	if len(data) < header {
		return nil
	}
	list, err := nl.ParseRouteAttr(data[header:])
	if err != nil {
		return nil
	}
	out := make(map[uint16][]byte, len(list))
	for _, a := range list {
		out[a.Attr.Type&nlaTypeMask] = a.Value
	}
	return out
}
