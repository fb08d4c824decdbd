package udp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSockaddr is an address and a port the way system calls take them.
type rawSockaddr struct {
	any unix.RawSockaddrInet6 // the larger of the two; its first bytes are a RawSockaddrInet4 for IPv4
	len uint32
}

func newRawSockaddr(a netip.AddrPort) rawSockaddr {
	var s rawSockaddr
	port := [2]byte{byte(a.Port() >> 8), byte(a.Port())}
	if a.Addr().Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.any))
		in.Family, in.Addr = unix.AF_INET, a.Addr().As4()
		in.Port = *(*uint16)(unsafe.Pointer(&port))
		s.len = unix.SizeofSockaddrInet4
		return s
	}
	s.any.Family, s.any.Addr = unix.AF_INET6, a.Addr().As16()
	s.any.Port = *(*uint16)(unsafe.Pointer(&port))
	s.len = unix.SizeofSockaddrInet6
	return s
}

// addrOf is the address in what a system call returned; the zero Addr for anything but IPv4 and IPv6.
func addrOf(s *unix.RawSockaddrInet6) netip.Addr {
	switch s.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(s)).Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16(s.Addr).Unmap()
	}
	return netip.Addr{}
}
