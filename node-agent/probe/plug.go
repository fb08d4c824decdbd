package probe

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// Device is the host's end of the namespace's veth.
	Device = "hsprobe"
	// Alias is its ifalias: not the mark of the dataplane's devices, nor of pods' ports, so that both leave it alone.
	Alias = "hopsack-probe"
	// inner is the other end.
	inner = "eth0"
)

// plug is the namespace on the bridge, and what it was made from.
type plug struct {
	ns     netns.NsHandle
	index  int // of Device
	bridge int // index of the bridge
	made   Config
}

// newPlug makes a namespace and plugs it in. It works on the calling thread's namespace. The port is set as the kernel makes
// it: the prober needs neither to reach itself nor to be kept from pods, which it does not answer.
func newPlug(c Config) (*plug, error) {
	bridge, err := netlink.LinkByName(c.Bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", c.Bridge, err)
	}
	if err := dropLeftover(); err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	p := &plug{ns: ns, bridge: bridge.Attrs().Index, made: c}
	if err := p.connect(c); err != nil {
		return nil, errors.Join(err, p.unplug())
	}
	return p, nil
}

// connect makes the veth and sets up both ends, the host's last: from then on packets come.
func (p *plug) connect(c Config) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = Device, c.MTU
	// A bridge without an address of its own takes the lowest of its ports: this is never it.
	attrs.HardwareAddr = macOf(c.Address.Addr(), 0xfe)
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: inner, PeerNamespace: netlink.NsFd(p.ns), PeerMTU: uint32(c.MTU),
		// Always the same one, so that what neighbours remember still holds after a restart.
		PeerHardwareAddr: macOf(c.Address.Addr(), 0x02),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("create veth %s: %w", Device, err)
	}
	link, err := netlink.LinkByName(Device)
	if err != nil {
		return fmt.Errorf("find %s: %w", Device, err)
	}
	p.index = link.Attrs().Index
	if err := netlink.LinkSetAlias(link, Alias); err != nil {
		return fmt.Errorf("set ifalias of %s: %w", Device, err)
	}
	if err := inside(p.ns, func() error { return setInner(c) }); err != nil {
		return err
	}
	if err := netlink.LinkSetMasterByIndex(link, p.bridge); err != nil {
		return fmt.Errorf("put %s on bridge %s: %w", Device, c.Bridge, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", Device, err)
	}
	awaitUp(p.bridge, p.index)
	return inside(p.ns, func() error {
		link, err := netlink.LinkByName(inner)
		if err != nil {
			return fmt.Errorf("find %s of the prober: %w", inner, err)
		}
		awaitUp(link.Attrs().Index)
		return nil
	})
}

// upWithin is how long devices may take to become operational, usually some milliseconds.
const upWithin = time.Second

// awaitUp waits until devices are operational. The kernel makes them so some time after they were set up and found their
// carrier, and until then drops what they send. An ARP request that is lost that way is repeated a second later only, when
// all probes have given up. If it takes too long they may do so.
func awaitUp(indexes ...int) {
	deadline := time.Now().Add(upWithin)
	for _, i := range indexes {
		for time.Now().Before(deadline) {
			link, err := netlink.LinkByIndex(i)
			if err != nil || link.Attrs().OperState == netlink.OperUp {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// setInner gives the namespace's end its address and default route.
func setInner(c Config) error {
	link, err := netlink.LinkByName(inner)
	if err != nil {
		return fmt.Errorf("find %s of the prober: %w", inner, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(c.Address)}
	if c.Address.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // nobody else has it, and waiting a second for that costs probes
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("add %s to the prober's %s: %w", c.Address, inner, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set the prober's %s up: %w", inner, err)
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if c.Gateway.Is6() {
		everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(everywhere), Gw: c.Gateway.AsSlice()}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("add the prober's default route via %s: %w", c.Gateway, err)
	}
	return nil
}

// fits says whether the plug is as c wants it, and still there: in the calling thread's namespace, on its bridge, and up.
func (p *plug) fits(c Config) (bool, error) {
	m := p.made
	if m.Bridge != c.Bridge || m.Address != c.Address || m.Gateway != c.Gateway || m.MTU != c.MTU {
		return false, nil
	}
	link, err := netlink.LinkByName(Device)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find %s: %w", Device, err)
	}
	a := link.Attrs()
	return a.Index == p.index && a.MasterIndex == p.bridge && a.Flags&net.FlagUp != 0 && a.MTU == c.MTU, nil
}

// unplug deletes the device and lets go of the namespace. It finds the device from inside, where it is eth0: whatever has
// the host's end's name by now may be another process's.
func (p *plug) unplug() error {
	err := inside(p.ns, func() error {
		link, err := netlink.LinkByName(inner)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find %s of the prober: %w", inner, err)
		}
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("delete the prober's %s: %w", inner, err)
		}
		return nil
	})
	return errors.Join(err, p.ns.Close())
}

// dropLeftover deletes a device that a process which is dead left behind: the kernel takes its time to do so itself.
func dropLeftover() error {
	link, err := netlink.LinkByName(Device)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", Device, err)
	}
	if link.Type() != "veth" || link.Attrs().Alias != Alias {
		return fmt.Errorf("make %s: a device of that name is there and is not hopsack's", Device)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete the %s of an earlier process: %w", Device, err)
	}
	return nil
}

// newNamespace makes a network namespace that only the returned descriptor holds, with lo up.
func newNamespace() (netns.NsHandle, error) {
	var made netns.NsHandle
	err := onThread(func() error {
		var err error
		if made, err = netns.New(); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("set lo up: %w", err), made.Close())
		}
		return err
	})
	return made, err
}

// inside runs f in ns.
func inside(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread whose namespace it may change. The caller's own thread is left alone, and a thread that cannot
// return to where it was is not used again.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("open network namespace: %w", err)
			return
		}
		defer home.Close()
		err = f()
		if back := netns.Set(home); back != nil {
			done <- errors.Join(err, fmt.Errorf("return to network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// macOf is a locally administered address that is the node's own, as its reserved address is.
func macOf(a netip.Addr, first byte) net.HardwareAddr {
	sum := sha256.Sum256([]byte(Alias + " " + a.String()))
	return append(net.HardwareAddr{first}, sum[:5]...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
