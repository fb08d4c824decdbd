package udp

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketBuffer is what a socket may hold while its worker does not run, in bytes.
const socketBuffer = 8 << 20

// socket is a UDP socket. Its descriptor is used through raw alone, so that it is not closed under anyone.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// openSocket opens a UDP socket on exactly that address, so that nothing is taken from other addresses of the node and
// everything goes out from the one that the lease publishes. Several may share a port: the kernel spreads senders over them.
// Port 0 takes any.
func openSocket(local netip.AddrPort) (*socket, error) {
	family := unix.AF_INET6
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	if err := setUpSocket(fd, family, local); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up UDP socket on %s: %w", local, err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), local.String())}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.file.Close()
		return nil, err
	}
	return s, nil
}

func setUpSocket(fd, family int, local netip.AddrPort) error {
	for _, size := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, size, socketBuffer); err != nil {
			return fmt.Errorf("set buffer: %w", err)
		}
	}
	if local.Port() != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share port: %w", err)
		}
	}
	// Outer packets carry no DF: an underlay that is narrower than the tunnel was told gets fragments, as with VXLAN, instead of a
	// black hole, and no ICMP message, which anyone can forge, has a say in it.
	if family == unix.AF_INET {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT); err != nil {
			return fmt.Errorf("set path MTU discovery: %w", err)
		}
	} else if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT); err != nil {
		return fmt.Errorf("set path MTU discovery: %w", err)
	}
	// Without it (Linux before 5.0) the kernel cuts what arrives, and everything still works.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	var address unix.Sockaddr = &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16()}
	if family == unix.AF_INET {
		address = &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}
	}
	if err := unix.Bind(fd, address); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// sockets are what a tunnel has open on one local address.
type sockets struct {
	local netip.AddrPort
	// receive are on the tunnel's port, one per worker. send are what workers send with: the first one's is receive[0], further
	// ones have ports of their own, so that the network and the other side's sockets see several flows between two nodes and can
	// spread them. Packets of one inner flow leave by one queue, and so stay in order.
	receive, send []*socket
}

func openSockets(local netip.AddrPort, workers int) (_ *sockets, err error) {
	s := &sockets{local: local}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for i := range workers {
		one, err := openSocket(local)
		if err != nil {
			return nil, err
		}
		s.receive = append(s.receive, one)
		if i > 0 {
			if one, err = openSocket(netip.AddrPortFrom(local.Addr(), 0)); err != nil {
				return nil, err
			}
		}
		s.send = append(s.send, one)
	}
	return s, nil
}

// close closes the sockets; who reads from one is told.
func (s *sockets) close() {
	for _, list := range [][]*socket{s.receive, s.send} {
		for _, one := range list {
			_ = one.file.Close() // the first is in both lists
		}
	}
}
