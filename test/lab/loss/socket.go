package loss

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketBuffer holds some seconds of packets, so that a receiver kept from running loses none.
const socketBuffer = 8 << 20

// family is what differs between IPv4 and IPv6 sockets.
type family struct {
	domain      int
	headers     int // bytes of IP and UDP header
	any         netip.Addr
	level       int // of the two options below
	mtuDiscover int
	mtu         int
	nft         string // nftables' name of the family
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family{unix.AF_INET, 28, netip.IPv4Unspecified(), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, "ip"}
	}
	return family{unix.AF_INET6, 48, netip.IPv6Unspecified(), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, "ip6"}
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// openUDP opens a socket bound to port (0: the kernel's choice) in the calling thread's namespace. df sets the DF bit
// and lets the kernel refuse what is larger than the route's MTU.
func openUDP(f family, port uint16, df bool) (int, error) {
	fd, err := unix.Socket(f.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open udp socket: %w", err)
	}
	if df {
		// IP_PMTUDISC_DO and IPV6_PMTUDISC_DO have the same value.
		if err := unix.SetsockoptInt(fd, f.level, f.mtuDiscover, unix.IP_PMTUDISC_DO); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("set DF: %w", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(f.any, port))); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind udp port %d: %w", port, err)
	}
	return fd, nil
}

// openReceiver opens a socket with large buffers and receive timestamps on a port of the kernel's choice.
// buffer is the receive buffer in bytes.
func openReceiver(f family, df bool, buffer int) (fd int, port uint16, err error) {
	fd, err = openUDP(f, 0, df)
	if err != nil {
		return -1, 0, err
	}
	if err := tuneReceiver(fd, buffer); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("read udp port: %w", err)
	}
	return fd, addrPort(sa).Port(), nil
}

func tuneReceiver(fd, buffer int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer); err != nil {
		return fmt.Errorf("set send buffer: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("switch on receive timestamps: %w", err)
	}
	return nil
}

// routeMTU asks the route to dst, in the calling thread's namespace, what it may carry: the route's or its device's
// MTU, or the path MTU learned.
func routeMTU(f family, dst netip.AddrPort) (int, error) {
	fd, err := unix.Socket(f.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open udp socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(dst)); err != nil {
		return 0, fmt.Errorf("find route to %s: %w", dst.Addr(), err)
	}
	mtu, err := unix.GetsockoptInt(fd, f.level, f.mtu)
	if err != nil {
		return 0, fmt.Errorf("read route MTU to %s: %w", dst.Addr(), err)
	}
	return mtu, nil
}

// dropped is how many packets the socket's full receive buffer has cost.
func dropped(fd int) (int64, error) {
	// SO_MEMINFO fills an array of counters; the ninth is the drops. Unlike SO_RXQ_OVFL it can be read without
	// receiving another packet.
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read socket drops: %w", errno)
	}
	return int64(info[8]), nil
}

// received is one packet read from a socket.
type received struct {
	payload []byte
	from    netip.AddrPort
	at      int64 // wall clock in nanoseconds, stamped by the kernel
}

// receiveBuffer is what readPacket reads into; one per thread.
type receiveBuffer struct {
	payload [65536]byte
	control [64]byte
}

// readPacket reads one packet; ok is false when there is none. Errors a UDP socket reports for packets sent earlier
// are passed over.
func (b *receiveBuffer) readPacket(fd int) (r received, ok bool, err error) {
	for {
		n, cn, _, sa, err := unix.Recvmsg(fd, b.payload[:], b.control[:], unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			at := stamp(b.control[:cn])
			if at == 0 {
				at = time.Now().UnixNano()
			}
			return received{b.payload[:n], addrPort(sa), at}, true, nil
		case errors.Is(err, unix.EAGAIN):
			return received{}, false, nil
		case errors.Is(err, unix.EINTR), isLateReport(err):
			continue
		default:
			return received{}, false, fmt.Errorf("receive: %w", err)
		}
	}
}

// stamp reads the SO_TIMESTAMPNS control message, the only kind that is switched on; 0 when it is missing.
func stamp(control []byte) int64 {
	if len(control) < unix.SizeofCmsghdr {
		return 0
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	if len(data) < int(unsafe.Sizeof(unix.Timespec{})) {
		return 0
	}
	return (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
}

// isLateReport tells errors by which a socket reports what an ICMP message said about an earlier packet. They say
// nothing about the packet at hand.
func isLateReport(err error) bool {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH),
		errors.Is(err, unix.EHOSTDOWN), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EPROTO):
		return true
	}
	return false
}
