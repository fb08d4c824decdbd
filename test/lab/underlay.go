package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// The places of the underlay that are not nodes.
const (
	placeControlPlane = "cp"
	placeSwitch       = "sw"
	placeRouter       = "rtr"
	placeClient       = "client"
)

const (
	netnsPrefix = "hs-"
	podPrefix   = "pod-"
)

var (
	controlPlaneAddr = segmentPrefix(0, 10)
	clientAddr       = segmentPrefix(0, 200)
)

func isPlace(name string) bool {
	return name == placeControlPlane || name == placeSwitch || name == placeRouter || name == placeClient
}

func netnsPath(name string) string { return ns.Path(netnsPrefix + name) }

// buildUnderlay makes switch, router, client and control plane with their cables. What exists already is kept.
func buildUnderlay() error {
	for _, name := range []string{placeSwitch, placeRouter, placeControlPlane, placeClient} {
		if err := makeNetNS(name); err != nil {
			return err
		}
	}
	if err := switchSysctls(); err != nil {
		return err
	}
	forward := func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }
	if err := ns.InNetNS(netnsPath(placeRouter), forward); err != nil {
		return fmt.Errorf("make the router forward: %w", err)
	}
	if err := buildSegment(0); err != nil {
		return err
	}
	if err := plug(placeControlPlane, 0, controlPlaneAddr); err != nil {
		return err
	}
	return plug(placeClient, 0, clientAddr)
}

// switchSysctls keeps the switch from running bridged frames through packet filters, which a real switch does not have.
// The files are there only once the kernel has bridge netfilter.
func switchSysctls() error {
	return ns.InNetNS(netnsPath(placeSwitch), func() error {
		files, err := filepath.Glob("/proc/sys/net/bridge/bridge-nf-call-*")
		for _, file := range files {
			err = errors.Join(err, os.WriteFile(file, []byte("0"), 0))
		}
		return err
	})
}

// makeNetNS makes a network namespace with lo up and everything else as the kernel has it.
func makeNetNS(name string) error {
	if err := ns.Create(netnsPath(name)); err != nil {
		return err
	}
	h, err := openHandle(name)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in %s: %w", name, err)
	}
	return setUp(h, lo, name)
}

func bridgeName(segment int) string { return fmt.Sprintf("br%d", segment) }

// buildSegment makes the bridge of an L2 segment and the router's leg in it.
func buildSegment(segment int) error {
	h, err := openHandle(placeSwitch)
	if err != nil {
		return err
	}
	defer h.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName(segment)}}
	if err := h.LinkAdd(bridge); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add bridge %s: %w", bridge.Name, err)
	}
	link, err := h.LinkByName(bridge.Name)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", bridge.Name, err)
	}
	if err := setUp(h, link, placeSwitch); err != nil {
		return err
	}
	leg := fmt.Sprintf("s%d", segment)
	if err := cable(placeRouter, leg, fmt.Sprintf("p-rtr%d", segment), segment); err != nil {
		return err
	}
	router, err := openHandle(placeRouter)
	if err != nil {
		return err
	}
	defer router.Close()
	return addAddr(router, leg, segmentPrefix(segment, 1))
}

// dropSegment removes a routed node's segment with the router's leg. What is absent is success.
func dropSegment(segment int) error {
	if err := dropSwitchLink(fmt.Sprintf("p-rtr%d", segment)); err != nil {
		return err
	}
	return dropSwitchLink(bridgeName(segment))
}

// unplug removes a machine's cable at once, not only when its namespace has been collected. What is absent is success.
func unplug(name string) error { return dropSwitchLink("p-" + name) }

func dropSwitchLink(name string) error {
	h, err := openHandle(placeSwitch)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("delete %s of the switch: %w", name, err)
	}
	return nil
}

// plug connects a machine's eth0 to a segment and gives it its address and default route.
func plug(name string, segment int, addr netip.Prefix) error {
	if err := cable(name, "eth0", "p-"+name, segment); err != nil {
		return err
	}
	h, err := openHandle(name)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := addAddr(h, "eth0", addr); err != nil {
		return err
	}
	// Exclusive: a default route that somebody changed meanwhile is not the lab's to repair.
	route := &netlink.Route{Gw: net.IP(segmentPrefix(segment, 1).Addr().AsSlice())}
	if err := h.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add default route of %s: %w", name, err)
	}
	return nil
}

// cable connects a machine's device to a port of the switch, on the segment's bridge, and sets both ends up.
func cable(machine, device, port string, segment int) error {
	sw, err := openHandle(placeSwitch)
	if err != nil {
		return err
	}
	defer sw.Close()
	if _, err := sw.LinkByName(port); errors.As(err, &netlink.LinkNotFoundError{}) {
		if err := addVeth(sw, machine, device, port); err != nil {
			return fmt.Errorf("connect %s of %s to the switch: %w", device, machine, err)
		}
	}
	end, err := sw.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find port %s: %w", port, err)
	}
	bridge, err := sw.LinkByName(bridgeName(segment))
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", bridgeName(segment), err)
	}
	if err := sw.LinkSetMaster(end, bridge); err != nil {
		return fmt.Errorf("plug %s into %s: %w", port, bridgeName(segment), err)
	}
	if err := setUp(sw, end, placeSwitch); err != nil {
		return err
	}
	h, err := openHandle(machine)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", device, machine, err)
	}
	return setUp(h, link, machine)
}

func addVeth(sw *netlink.Handle, machine, device, port string) error {
	target, err := netns.GetFromPath(netnsPath(machine))
	if err != nil {
		return err
	}
	defer target.Close()
	return sw.LinkAdd(&netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: port},
		PeerName:         device,
		PeerNamespace:    netlink.NsFd(int(target)),
		PeerHardwareAddr: hardwareAddr(port),
	})
}

// hardwareAddr gives what is plugged into a port of the switch the same address every time, as a card has: neighbours would
// go on sending to a node's former address for seconds after it rebooted.
func hardwareAddr(port string) net.HardwareAddr {
	h := fnv.New32a()
	_, _ = h.Write([]byte(port))
	return binary.BigEndian.AppendUint32(net.HardwareAddr{0x02, 0x1a}, h.Sum32())
}

func addAddr(h *netlink.Handle, device string, addr netip.Prefix) error {
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	ip := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}
	if err := h.AddrReplace(link, &netlink.Addr{IPNet: ip}); err != nil {
		return fmt.Errorf("add %s to %s: %w", addr, device, err)
	}
	return nil
}

func setUp(h *netlink.Handle, link netlink.Link, machine string) error {
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s of %s up: %w", link.Attrs().Name, machine, err)
	}
	return nil
}

// openHandle returns a netlink handle into the namespace of a machine; the caller closes it.
func openHandle(name string) (*netlink.Handle, error) {
	fd, err := netns.GetFromPath(netnsPath(name))
	if err != nil {
		return nil, fmt.Errorf("open namespace of %s: %w", name, err)
	}
	defer fd.Close()
	h, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	return h, nil
}
