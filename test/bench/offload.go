package main

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The features that let big packets pass whole, with the ethtool commands that read and set them (linux/ethtool.h). byDefault
// are those that the kernel gives a veth.
var offloads = []struct {
	name      string
	get, set  uint32
	byDefault bool
}{
	{"tso", 0x1e, 0x1f, true},
	{"gso", 0x23, 0x24, true},
	{"gro", 0x2b, 0x2c, false},
}

// setOffloads switches them off on every device of the world, or checks that they are as the kernel has them: on.
func (w *world) setOffloads(on bool) error {
	for i := range w.nodes {
		for _, ns := range []*netNS{w.nodes[i].netNS, w.pods[i].netNS} {
			if err := ns.do(func() error { return setDeviceOffloads(on) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func setDeviceOffloads(on bool) error {
	devices, err := net.Interfaces()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, d := range devices {
		if d.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, o := range offloads {
			if !on {
				if _, err := ethtool(fd, d.Name, o.set, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
					return fmt.Errorf("switch %s of %s off: %w", o.name, d.Name, err)
				}
			}
			is, err := ethtool(fd, d.Name, o.get, 0)
			if err != nil {
				return fmt.Errorf("read %s of %s: %w", o.name, d.Name, err)
			}
			if is != 0 && !on || is == 0 && on && o.byDefault && d.Name == underlayDevice {
				return fmt.Errorf("%s of %s is %d, want it switched %t", o.name, d.Name, is, on)
			}
		}
	}
	return nil
}

// ethtool carries out a command that has one value, and returns the value afterwards.
func ethtool(fd int, device string, command, value uint32) (uint32, error) {
	content := struct{ command, value uint32 }{command, value}
	request := struct { // struct ifreq (linux/if.h)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&content)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return content.value, nil
}
