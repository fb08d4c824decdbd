package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// udpWorld is two nodes on a cable with a pod each, and one way between the nodes. What is compared is that way alone: there is
// no bridge, no packet filter, and routes are set by hand.
type udpWorld struct {
	name string
	// device is what packets to the other node's pods go out by.
	device  string
	connect func(w *udpWorld, i int) error
	mtu     int

	nodes [2]*netNS
	pods  [2]*pod
	// tunnels are the processes that carry the packets, if any.
	tunnels []*tunnelProcess

	tcp, pps, arrived, rtt, cpuPerGB, cpuPerMillion []float64
}

const (
	udpPort   = 8285
	udpDevice = "hsu8285"
	// udpOverhead is an IPv4 and a UDP header.
	udpOverhead   = 28
	vxlanOverhead = 50
	vxlanBench    = "vx"
	// libraryWorld is the world whose packets wireguard-go's packages carry.
	libraryWorld = "library"
)

func (w *udpWorld) remove() {
	for _, p := range w.tunnels {
		p.end()
	}
	for i := range w.nodes {
		if w.pods[i] != nil {
			w.pods[i].close()
		}
		if w.nodes[i] != nil {
			w.nodes[i].close()
		}
	}
}

// build makes the nodes and pods and connects them.
func (w *udpWorld) build() error {
	for i := range w.nodes {
		var err error
		if w.nodes[i], err = newNetNS(); err != nil {
			return err
		}
		if w.pods[i], err = newPod(w.name); err != nil {
			return err
		}
	}
	address := func(i int) string { return fmt.Sprintf("%s/%d", nodeAddr(i), underlayBits) }
	if err := cable(w.nodes[0], underlayDevice, address(1), w.nodes[1], underlayDevice, address(2)); err != nil {
		return err
	}
	for i := range w.nodes {
		if err := w.plugPod(i); err != nil {
			return err
		}
		err := w.nodes[i].do(func() error {
			return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), w.connect(w, i))
		})
		if err == nil && w.device == udpDevice {
			err = w.startTunnel(i)
		}
		if err != nil {
			return fmt.Errorf("connect node %d: %w", i+1, err)
		}
	}
	return nil
}

// plugPod gives node i its pod.
func (w *udpWorld) plugPod(i int) error {
	subnet := nodeSubnet(i + 1)
	gateway := subnet.Addr().Next()
	w.pods[i].addr = gateway.Next()
	if err := cable(w.nodes[i], "pod", gateway.String()+"/24", w.pods[i].netNS, "eth0", w.pods[i].addr.String()+"/24"); err != nil {
		return err
	}
	return w.pods[i].do(func() error {
		// As hopsack's plugin does it: the device has the underlay's MTU, the route what fits through.
		return netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice(), MTU: w.mtu})
	})
}

// other is the index of the node that is not i, and what it is called.
func other(i int) int { return 1 - i }

// route sends what is for the other node's pods out by a device, which is set up.
func (w *udpWorld) route(i int, via netip.Addr) error {
	link, err := netlink.LinkByName(w.device)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetMTU(link, w.mtu), netlink.LinkSetUp(link)); err != nil {
		return err
	}
	subnet := nodeSubnet(other(i) + 1)
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}}
	if via.IsValid() {
		r.Gw, r.Flags = via.AsSlice(), int(netlink.FLAG_ONLINK)
	}
	return netlink.RouteAdd(r)
}

func connectPlain(w *udpWorld, i int) error { return w.route(i, nodeAddr(other(i)+1)) }

// connectVXLAN makes the device as hopsack does: no learning, permanent entries.
func connectVXLAN(w *udpWorld, i int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = w.device, macOf(i)
	vxlan := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 8472, SrcAddr: nodeAddr(i + 1).AsSlice(), Learning: false}
	if err := netlink.LinkAdd(vxlan); err != nil {
		return err
	}
	peer := nodeSubnet(other(i) + 1).Addr()
	if err := w.route(i, peer); err != nil {
		return err
	}
	return errors.Join(
		netlink.NeighSet(&netlink.Neigh{LinkIndex: vxlan.Index, IP: peer.AsSlice(), HardwareAddr: macOf(other(i)), State: netlink.NUD_PERMANENT}),
		netlink.NeighSet(&netlink.Neigh{
			LinkIndex: vxlan.Index, IP: nodeAddr(other(i) + 1).AsSlice(), HardwareAddr: macOf(other(i)),
			Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		}))
}

func macOf(i int) net.HardwareAddr { mac := nodeMAC(i + 1); return mac[:] }

// connectUDP makes the device of the udp backend; a process carries the packets.
func connectUDP(w *udpWorld, i int) error {
	if err := makeTUN(w.device); err != nil {
		return err
	}
	return w.route(i, netip.Addr{})
}

// makeTUN makes a device as hopsack's dataplane does: it stays when no process has it open.
func makeTUN(name string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make device %s: %w", name, err)
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
}

// sent is how many bytes node 1 has sent out by the world's device.
func (w *udpWorld) sent() (bytes uint64, err error) {
	err = w.nodes[0].do(func() error {
		link, err := netlink.LinkByName(w.device)
		if err == nil {
			bytes = link.Attrs().Statistics.TxBytes
		}
		return err
	})
	return bytes, err
}
