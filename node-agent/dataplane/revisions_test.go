package dataplane_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

const tun = "hsu8285"

// all is a state that receives on both vxlan tunnels and by udp, with a path to probe for each, and sends by device.
func (s *side) all(device string) desired.State {
	want := s.both(device == second)
	withTUN(&want, s.self, 8285)
	want.Loose[tun] = struct{}{}
	want.Firewall.TunnelPorts = []uint16{4789, 8285, 8472}
	for i, d := range []string{tunnel, second, tun} {
		withPath(&want, s.self, 10400+2*i, d, s.peer)
	}
	want.PodMTU = 1450
	if device == tun {
		want.Routes[subnet(s.peer)] = desired.Route{Device: tun, Source: gateway(s.self), MTU: 1472}
		want.PodMTU = 1472
	}
	return want
}

// udpOnly is a state with the udp tunnel alone.
func (s *side) udpOnly() desired.State {
	want := s.all(tun)
	for _, name := range []string{tunnel, second} {
		delete(want.Links, name)
		delete(want.Loose, name)
		for key := range want.Addrs {
			if key.Device == name {
				delete(want.Addrs, key)
			}
		}
	}
	clear(want.FDB)
	clear(want.Neighs)
	want.Tables, want.Rules = nil, nil
	want.Firewall.TunnelPorts = []uint16{8285}
	return want
}

// serveTUN is the least that carries packets between the TUN device and the peer. It ends with the test, or when stop is called.
func (s *side) serveTUN(t *testing.T) (stop func()) {
	t.Helper()
	var device *os.File
	var conn *net.UDPConn
	nstest.Do(t, s.ns, func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		req, _ := unix.NewIfreq(tun)
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			t.Fatalf("attach a queue to %s: %v", tun, err)
		}
		device = os.NewFile(uintptr(fd), tun)
		if conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: underlay(s.self).AsSlice(), Port: 8285}); err != nil {
			t.Fatal(err)
		}
	})
	const vnetHeader = 10 // struct virtio_net_hdr
	peer := netip.AddrPortFrom(underlay(s.peer), 8285)
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := device.Read(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(b[vnetHeader:n], peer)
		}
	}()
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := conn.Read(b[vnetHeader:])
			if err != nil {
				return
			}
			clear(b[:vnetHeader])
			_, _ = device.Write(b[:vnetHeader+n])
		}
	}()
	stop = func() {
		device.Close()
		conn.Close()
	}
	t.Cleanup(stop)
	return stop
}

// Two nodes receive on three tunnels at once and change one after another from each to each, and no packet is lost; what is no
// longer needed goes, and at the end nothing is left.
func TestSwitchBetweenAllTunnels(t *testing.T) {
	sides := newSides(t)
	step := func(want func(s *side) desired.State) {
		for _, s := range sides {
			time.Sleep(50 * time.Millisecond)
			nstest.Do(t, s.ns, func() { sync(t, s.dataplane, want(s)) })
		}
	}
	step(func(s *side) desired.State { return s.all(tunnel) })
	for _, s := range sides {
		s.serveTUN(t)
	}
	p := startProbe(t, sides[0], sides[1])
	for _, device := range []string{second, tun, tunnel, tun, second, tunnel, second, tun} {
		step(func(s *side) desired.State { return s.all(device) })
		if sent, lost := p.count(); lost > 20 { // those that are on their way
			t.Fatalf("to %s: lost %d of %d", device, lost, sent)
		}
	}
	for _, s := range sides {
		nstest.Do(t, s.ns, func() { settled(t, s.dataplane, s.all(tun)) })
	}
	step((*side).udpOnly)
	time.Sleep(100 * time.Millisecond)
	if sent, lost := p.stop(); lost > 0 || sent < 500 {
		t.Errorf("lost %d of %d, want 0 of at least 500", lost, sent)
	}
	for _, s := range sides {
		nstest.Do(t, s.ns, func() {
			settled(t, s.dataplane, s.udpOnly())
			left := leftovers(t)
			if strings.Contains(left, "hs1-") || strings.Contains(left, "hs7-") || strings.Contains(left, "lookup") || strings.Contains(left, "table 104") {
				t.Errorf("left over after the clean-up:\n%s", left)
			}
			sync(t, s.dataplane, desired.State{})
			if left := leftovers(t); left != "" {
				t.Errorf("left over at the end:\n%s", left)
			}
		})
	}
}

// leftovers is what the tools show of hopsack's.
func leftovers(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(nstest.Run(t, "ip route show table all proto 104"))
	for _, command := range []string{"ip rule", "ip -o link", "nft list tables"} {
		for line := range strings.Lines(nstest.Run(t, command)) {
			if strings.Contains(line, "hopsack") || strings.Contains(line, ": hs") || strings.Contains(line, "104") && command == "ip rule" {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// A packet from the reserved address goes the way that its source port says, every other one by table main, and one to a peer
// that the path does not reach nowhere.
func TestProbesAreSteered(t *testing.T) {
	s := newSides(t)[0] // its pod has the reserved address
	devices := []string{tunnel, second, tun, "eth0"}
	nstest.Do(t, s.ns, func() {
		want := s.all(tunnel)
		delete(want.Tables[10404], netip.PrefixFrom(subnet(s.peer).Addr(), 30))
		sync(t, s.dataplane, want)
	})
	s.serveTUN(t) // without a queue, the device drops without counting
	for _, tc := range []struct {
		from uint16
		want string
	}{{10401, tunnel}, {10403, second}, {10400, tunnel}, {10405, ""}, {12345, tunnel}} {
		sent := func() map[string]uint64 {
			out := map[string]uint64{}
			nstest.Do(t, s.ns, func() {
				for _, d := range devices[:3] {
					l, err := netlink.LinkByName(d)
					if err != nil {
						t.Fatal(err)
					}
					out[d] = l.Attrs().Statistics.TxPackets
				}
			})
			return out
		}
		nstest.Do(t, s.ns, func() { nstest.Run(t, "ip link set "+second+" up") })
		before := sent()
		s.sendFrom(t, tc.from, 20)
		for d, n := range sent() {
			if got := n - before[d]; (got >= 20) != (d == tc.want) {
				t.Errorf("from port %d: %d packets by %s, want them by %q", tc.from, got, d, tc.want)
			}
		}
	}
}

// sendFrom sends datagrams from the pod to the other node's.
func (s *side) sendFrom(t *testing.T, port uint16, count int) {
	t.Helper()
	var conn *net.UDPConn
	nstest.Do(t, s.pod, func() {
		var err error
		conn, err = net.DialUDP("udp", &net.UDPAddr{Port: int(port)}, &net.UDPAddr{IP: reserved(s.peer).AsSlice(), Port: 9})
		if err != nil {
			t.Fatal(err)
		}
	})
	defer conn.Close()
	for sent := 0; sent < count; {
		if _, err := conn.Write([]byte("probe")); err == nil { // else the ICMP error to an earlier one
			sent++
		}
	}
	time.Sleep(20 * time.Millisecond)
}

// A new process finds the rules, tables and TUN devices of the one before, which knew of more.
func TestLeftoversOfAnotherProcess(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	want := nodeState(o.StateDir, 1, 2)
	more := nodeState(o.StateDir, 1, 2)
	withTUN(&more, 1, 8285)
	withPath(&more, 1, 10400, tun, 2)
	withPath(&more, 1, 10402, tunnel, 2)
	sync(t, newDataplane(t, o), more)
	contains(t, "ip -d link show "+tun, "tun type tun pi off vnet_hdr on", "persist on")
	contains(t, "ip link show "+tun, "qlen 4096")
	contains(t, "ip rule", "104:", "from 10.64.1.2 ipproto udp sport 10401 lookup 10400 proto 104")
	contains(t, "ip route show table 10400", "10.64.2.0/30 dev hsu8285 proto 104 scope link src 10.64.1.1")
	nstest.Run(t, "ip link set "+tun+" alias x") // an agent that was killed before it could mark it
	nstest.Run(t, "ip rule add priority 50 protocol 104 fwmark 7 lookup 10402")
	nstest.Run(t, "ip -6 rule add protocol 104 priority 51 lookup 10402")
	nstest.Run(t, "ip rule add priority 60 lookup 10402")
	nstest.Run(t, "ip route add 192.0.2.0/24 dev lo table 10402")
	nstest.Run(t, "ip route add 10.64.2.0/24 dev hs1-8472 proto 104 table 77")
	d := newDataplane(t, o)
	sync(t, d, want)
	settled(t, d, want)
	for _, command := range []string{"ip rule", "ip -6 rule", "ip route show table all", "ip link"} {
		left := nstest.Run(t, command)
		for _, word := range []string{"proto 104 table", "sport", "50:\t", "51:\t", "table 77", tun} {
			if strings.Contains(left, word) {
				t.Errorf("%s: left over is %q:\n%s", command, word, left)
			}
		}
	}
	contains(t, "ip rule", "60:", "lookup 10402")
	contains(t, "ip route show table 10402", "192.0.2.0/24 dev lo")
}

// A TUN device that cannot become what is wanted is made anew, and a table's route that somebody else made is not overwritten.
func TestForeignInTheWayOfRevisions(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	nstest.Run(t, "ip tuntap add dev "+tun+" mode tap")
	nstest.Run(t, "ip route add unreachable 10.64.2.0/30 table 10402")
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2)
	withTUN(&want, 1, 8285)
	withPath(&want, 1, 10402, tunnel, 2)
	r, err := d.Sync(context.Background(), want, false)
	if err != nil || len(r.Problems) != 3 {
		t.Errorf("got problems %v, error %v, want a foreign device, a foreign route, and that probes go elsewhere", r.Problems, err)
	}
	if strings.Contains(nstest.Run(t, "ip rule"), "10402") {
		t.Error("a rule leads to a table with a foreign route")
	}
	nstest.Run(t, "ip link del "+tun)
	nstest.Run(t, "ip route del unreachable 10.64.2.0/30 table 10402")
	sync(t, d, want)
	settled(t, d, want)
}

// The routes of live pods get the mtu of what the node sends with, while a TCP connection goes on.
func TestPodsFollowTheMTU(t *testing.T) {
	sides := newSides(t)
	for i, s := range sides {
		record := handoff.Pod{ContainerID: fmt.Sprint("pod", i), IfName: "pod0", Netns: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.pod))}
		if err := handoff.WritePod(s.dir+"/pods", record); err != nil {
			t.Fatal(err)
		}
		nstest.Do(t, s.pod, func() { nstest.Run(t, "ip route add 203.0.113.0/24 via "+gateway(s.self).String()) })
		nstest.Do(t, s.ns, func() { sync(t, s.dataplane, s.all(tunnel)) })
		s.serveTUN(t)
	}
	var transferred atomic.Int64
	stop := stream(t, sides[0].pod, sides[1].pod, sides[1].podAddr(), &transferred)
	for _, device := range []string{tun, tunnel, "eth0", second, "eth0", tun} {
		mtu := map[string]string{tun: "mtu 1472", "eth0": ""}[device]
		if device == tunnel || device == second {
			mtu = "mtu 1450"
		}
		for _, s := range sides {
			want := s.all(device)
			if device == "eth0" {
				direct(want, s.self, s.peer)
				want.PodMTU = 0
			}
			nstest.Do(t, s.ns, func() {
				sync(t, s.dataplane, want)
				settled(t, s.dataplane, want)
			})
			nstest.Do(t, s.pod, func() {
				got := nstest.Run(t, "ip route show default")
				if !strings.HasPrefix(got, "default via "+gateway(s.self).String()+" dev pod0") || strings.Contains(got, "mtu") != (mtu != "") || !strings.Contains(got, mtu) {
					t.Errorf("by %s: the pod's default route is %q, want %q", device, got, mtu)
				}
				if other := nstest.Run(t, "ip route show 203.0.113.0/24"); strings.Contains(other, "mtu") {
					t.Errorf("another route of the pod was changed: %s", other)
				}
			})
		}
		before := transferred.Load()
		for range 100 {
			if time.Sleep(10 * time.Millisecond); transferred.Load() > before+1<<20 {
				break
			}
		}
		if got := transferred.Load() - before; got < 1<<20 {
			t.Errorf("by %s: only %d bytes came through in a second", device, got)
		}
	}
	stop()
	// A pod whose namespace has gone, or is a plain file by now, is no error.
	s := sides[0]
	for id, path := range map[string]string{"gone": "/nowhere/ns", "file": "/etc/hostname"} {
		if err := handoff.WritePod(s.dir+"/pods", handoff.Pod{ContainerID: id, IfName: "eth0", Netns: path}); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Do(t, s.ns, func() {
		sync(t, s.dataplane, s.all(tun))
		settled(t, s.dataplane, s.all(tun))
	})
}

// A process that serves the udp tunnel may go and come back: device, address and routes stay, and a pass finds nothing to do.
func TestTUNOutlivesItsProcess(t *testing.T) {
	sides := newSides(t)
	for _, s := range sides {
		nstest.Do(t, s.ns, func() { sync(t, s.dataplane, s.all(tun)) })
		s.serveTUN(t)()
		nstest.Do(t, s.ns, func() {
			settled(t, s.dataplane, s.all(tun))
			contains(t, "ip route", subnet(s.peer).String()+" dev "+tun)
			contains(t, "ip addr show dev "+tun, "inet "+subnet(s.self).Addr().String()+"/32 scope link")
		})
		s.serveTUN(t)
	}
	p := startProbe(t, sides[0], sides[1])
	time.Sleep(50 * time.Millisecond)
	if sent, lost := p.stop(); lost > 0 || sent == 0 {
		t.Errorf("lost %d of %d", lost, sent)
	}
}
