package monitor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// socketBuffer is large enough for the events of a few thousand pods or peers that change at once.
	socketBuffer = 8 << 20
	// maxMessage is more than the kernel puts into one datagram.
	maxMessage = 64 << 10
)

// rtGroups are the rtnetlink groups (linux/rtnetlink.h); nftGroup is NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h).
var rtGroups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
}

const nftGroup = 7

// subscription is a netlink socket that listens to groups.
type subscription struct {
	name     string
	protocol int
	groups   []uint
	fd       int // -1 while closed
	buf      []byte
}

func newRTNetlink() *subscription {
	return &subscription{name: "rtnetlink", protocol: unix.NETLINK_ROUTE, groups: rtGroups, fd: -1, buf: make([]byte, maxMessage)}
}

func newNFNetlink() *subscription {
	return &subscription{name: "nftables", protocol: unix.NETLINK_NETFILTER, groups: []uint{nftGroup}, fd: -1, buf: make([]byte, maxMessage)}
}

func (s *subscription) isOpen() bool { return s.fd >= 0 }

func (s *subscription) close() {
	if s.isOpen() {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// open subscribes in the network namespace of the calling thread.
func (s *subscription) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.protocol)
	if err != nil {
		return fmt.Errorf("open %s socket: %w", s.name, err)
	}
	// The second is limited by net.core.rmem_max, for a process without NET_ADMIN over the host.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range s.groups {
		address.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, address); err != nil {
		return errors.Join(fmt.Errorf("subscribe to %s: %w", s.name, err), unix.Close(fd))
	}
	s.fd = fd
	return nil
}

// drain passes on every message that waits. lost says that the kernel had to drop some.
func (s *subscription) drain(see func(typ uint16, port uint32, body []byte)) (lost bool, err error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return lost, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			lost = true
			continue
		case err != nil:
			return lost, fmt.Errorf("read %s socket: %w", s.name, err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // not from the kernel
		}
		eachMessage(s.buf[:n], see)
	}
}
