package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab"
)

// runIsolated runs a case in a child process with a network and a mount namespace of its own.
func runIsolated(ctx context.Context, s settings, name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-inside", name, "-idle", s.idle.String())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	// A terminal interrupts the child as well; its namespaces go with it either way.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// runInside is the child: it hides the machine's /run and /sys behind its own and runs the case.
func runInside(ctx context.Context, s settings) error {
	for _, c := range allCases() {
		if c.name != s.inside || c.run == nil {
			continue
		}
		if err := errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"),
			unix.Mount("sysfs", "/sys", "sysfs", 0, ""),
		); err != nil {
			return fmt.Errorf("make own mounts: %w", err)
		}
		return c.run(ctx, s)
	}
	return fmt.Errorf("no case %q runs in a process of its own", s.inside)
}

// netNS is a network namespace that nothing but a file descriptor holds.
type netNS struct{ file *os.File }

// newNetNS makes one, with lo up.
func newNetNS() (*netNS, error) {
	n := &netNS{}
	err := lab.WithNetNS("/proc/self/ns/net", func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return setUp("lo")
	})
	return n, err
}

// close lets go of the namespace; the kernel removes it once no process or device needs it.
func (n *netNS) close() { _ = n.file.Close() }

// path names the namespace for other processes.
func (n *netNS) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// do runs f on a thread of its own in the namespace; processes and sockets of f are there, too.
func (n *netNS) do(f func() error) error { return lab.WithNetNS(n.path(), f) }

func setUp(device string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", device, err)
	}
	return nil
}

// cable plugs two namespaces together: device nameA with the address cidrA at one end, nameB with cidrB at the other. Both
// may be the same namespace. An end without an address is only up.
func cable(a *netNS, nameA, cidrA string, b *netNS, nameB, cidrB string) error {
	err := a.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = nameA, underlayMTU
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerMTU: underlayMTU, PeerNamespace: netlink.NsFd(b.file.Fd())}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", nameA, err)
		}
		return plug(nameA, cidrA)
	})
	if err != nil {
		return err
	}
	return b.do(func() error { return plug(nameB, cidrB) })
}

func plug(device, cidr string) error {
	if cidr != "" {
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(device)
		if err != nil {
			return fmt.Errorf("find %s: %w", device, err)
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", cidr, device, err)
		}
	}
	return setUp(device)
}
