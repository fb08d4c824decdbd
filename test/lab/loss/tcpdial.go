package loss

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// dial opens a TCP connection from the namespace at netns. Only the socket is made there; waiting is the runtime
// poller's, so a connection that takes long holds no thread.
func dial(netns string, to netip.AddrPort, deadline time.Time) (net.Conn, error) {
	f := familyOf(to.Addr())
	fd := -1
	err := inNetNS(netns, func() error {
		var err error
		fd, err = unix.Socket(f.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open tcp socket: %w", err)
		}
		err = unix.Connect(fd, sockaddr(to))
		if err != nil && err != unix.EINPROGRESS {
			unix.Close(fd)
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close() // FileConn has its own copy
	if err := awaitConnect(file, deadline); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return conn, nil
}

// awaitConnect waits until the connection on the non-blocking socket stands or has failed.
func awaitConnect(file *os.File, deadline time.Time) error {
	if err := file.SetDeadline(deadline); err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var state error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || errno != 0 {
			state = err
			if errno != 0 {
				state = unix.Errno(errno)
			}
			return true
		}
		// Without an error and without a peer it is still on its way.
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	if err != nil {
		return err
	}
	return state
}

// listen opens a TCP listener on a port of the kernel's choice in the namespace at netns.
func listen(netns string, f family) (net.Listener, error) {
	fd := -1
	err := inNetNS(netns, func() error {
		var err error
		fd, err = unix.Socket(f.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open tcp socket: %w", err)
		}
		if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(f.any, 0))); err == nil {
			err = unix.Listen(fd, 1024)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("listen on tcp: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp: %w", err)
	}
	return l, nil
}
