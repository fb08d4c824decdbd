package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds some hundreds of large probes, should every peer ask at once.
const receiveBuffer = 1 << 20

// openUDP opens a socket in the calling thread's namespace. Its packets have DF set, and a smaller MTU that the kernel has
// learned does not stop them: what is to be found out is whether they pass now.
//
// A foreign socket is bound to an address that the namespace does not have: packets from it take the node's own way out,
// past its FORWARD rules, and the same ip rules as those from the address itself.
func openUDP(at netip.AddrPort, foreign bool) (*net.UDPConn, error) {
	network, level := "udp4", unix.IPPROTO_IP
	options := map[int]int{unix.IP_MTU_DISCOVER: unix.IP_PMTUDISC_PROBE}
	if foreign {
		options[unix.IP_TRANSPARENT] = 1
	}
	if at.Addr().Is6() {
		network, level = "udp6", unix.IPPROTO_IPV6
		options = map[int]int{unix.IPV6_MTU_DISCOVER: unix.IPV6_PMTUDISC_PROBE}
		if foreign {
			options[unix.IPV6_TRANSPARENT] = 1
		}
	}
	control := func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			for option, value := range options {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), level, option, value))
			}
			// Without the right to it the default holds: fewer at once.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		})
		if err != nil {
			return err
		}
		return failed
	}
	conn, err := (&net.ListenConfig{Control: control}).ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, fmt.Errorf("open UDP %s: %w", at, err)
	}
	return conn.(*net.UDPConn), nil
}

// overhead is what the IP and UDP headers add to a message.
func overhead(a netip.Addr) int {
	if a.Is6() {
		return 48
	}
	return 28
}
