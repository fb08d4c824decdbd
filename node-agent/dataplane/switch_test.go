package dataplane_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// side is a node of two on one segment, with a pod.
type side struct {
	self, peer int
	ns, pod    netns.NsHandle
	dataplane  *dataplane.Dataplane
	dir        string
}

// newSides makes two nodes that filter strictly, as distributions do, and have each other as vxlan peers.
func newSides(t *testing.T) [2]*side {
	t.Helper()
	var sides [2]*side
	home := nstest.Enter(t)
	other := nstest.New(t)
	nstest.Run(t, "ip link add eth0 type veth peer name far0")
	nstest.Run(t, fmt.Sprintf("ip link set far0 netns /proc/%d/fd/%d", os.Getpid(), int(other)))
	nstest.Do(t, other, func() { nstest.Run(t, "ip link set far0 name eth0") })
	for i, ns := range []netns.NsHandle{home, other} {
		s := &side{self: i + 1, peer: 2 - i, ns: ns, pod: nstest.New(t)}
		sides[i] = s
		nstest.Do(t, ns, func() {
			nstest.Run(t, "ip addr add "+underlay(s.self).String()+"/16 dev eth0")
			nstest.Run(t, "ip link set eth0 up")
			nstest.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
			o := options(t)
			s.dir, s.dataplane = o.StateDir, newDataplane(t, o)
			sync(t, s.dataplane, s.state())
			nstest.Run(t, "ip link add p0 type veth peer name pod0")
			nstest.Run(t, "ip link set p0 master cni0 up")
			nstest.Run(t, fmt.Sprintf("ip link set pod0 netns /proc/%d/fd/%d", os.Getpid(), int(s.pod)))
		})
		nstest.Do(t, s.pod, func() {
			nstest.Run(t, "ip addr add "+s.podAddr()+"/24 dev pod0")
			nstest.Run(t, "ip link set pod0 up")
			nstest.Run(t, "ip route add default via "+gateway(s.self).String())
		})
	}
	return sides
}

func (s *side) podAddr() string { return gateway(s.self).Next().String() }

// state is that of a node whose peer is reached by the tunnel.
func (s *side) state() desired.State {
	want := nodeState(s.dir, s.self, s.peer)
	want.Loose["eth0"], want.Loose[tunnel] = struct{}{}, struct{}{}
	return want
}

const second = "hs7-4789"

// both is a state that also receives on a second tunnel; switched says that it sends there.
func (s *side) both(switched bool) desired.State {
	want := s.state()
	want.Links[second] = desired.Link{Kind: desired.KindVXLAN, MAC: vtep(s.self), MTU: 1450, VNI: 7, Port: 4789, Local: underlay(s.self)}
	want.Addrs[desired.AddrKey{Device: second, Prefix: netip.PrefixFrom(subnet(s.self).Addr(), 32)}] = desired.ScopeLink
	want.FDB[desired.FDBKey{Device: second, MAC: vtep(s.peer)}] = underlay(s.peer)
	want.Neighs[desired.NeighKey{Device: second, IP: subnet(s.peer).Addr()}] = vtep(s.peer)
	want.Loose[second] = struct{}{}
	want.Firewall.TunnelPorts = []uint16{4789, 8472}
	if switched {
		r := want.Routes[subnet(s.peer)]
		r.Device = second
		want.Routes[subnet(s.peer)] = r
	}
	return want
}

// only is a state with the second tunnel alone.
func (s *side) only() desired.State {
	want := s.both(true)
	delete(want.Links, tunnel)
	for key := range want.Addrs {
		if key.Device == tunnel {
			delete(want.Addrs, key)
		}
	}
	delete(want.FDB, desired.FDBKey{Device: tunnel, MAC: vtep(s.peer)})
	delete(want.Neighs, desired.NeighKey{Device: tunnel, IP: subnet(s.peer).Addr()})
	delete(want.Loose, tunnel)
	want.Firewall.TunnelPorts = []uint16{4789}
	return want
}

func (s *side) plain(second bool) desired.State {
	want := s.state()
	if second {
		want = s.only()
	}
	direct(want, s.self, s.peer)
	return want
}

// Two nodes change one after another from vxlan to direct routing and back, to another VNI and port, to direct routing and
// to the first tunnel, under strict filtering by default, and no packet between their pods is lost.
func TestSwitchLosesNothing(t *testing.T) {
	sides := newSides(t)
	p := startProbe(t, sides[0], sides[1])
	for step, state := range []func(s *side) desired.State{
		(*side).state,
		func(s *side) desired.State { return s.plain(false) },
		(*side).state,
		func(s *side) desired.State { return s.both(false) },
		func(s *side) desired.State { return s.both(true) },
		(*side).only,
		func(s *side) desired.State { return s.plain(true) },
		func(s *side) desired.State { return s.both(true) },
		func(s *side) desired.State { return s.both(false) },
		(*side).state,
	} {
		for _, s := range sides {
			time.Sleep(100 * time.Millisecond)
			nstest.Do(t, s.ns, func() { sync(t, s.dataplane, state(s)) })
		}
		if sent, lost := p.count(); lost > 20 { // those that are on their way
			t.Fatalf("step %d: lost %d of %d", step, lost, sent)
		}
	}
	if sent, lost := p.stop(); lost > 0 || sent < 1000 {
		t.Errorf("lost %d of %d, want 0 of at least 1000", lost, sent)
	}
}

// A new process that takes over, and full passes, lose nothing either.
func TestTakeoverLosesNothing(t *testing.T) {
	sides := newSides(t)
	p := startProbe(t, sides[0], sides[1])
	for range 5 {
		for _, s := range sides {
			nstest.Do(t, s.ns, func() { sync(t, newDataplane(t, dataplane.Options{StateDir: s.dir}), s.state()) })
		}
	}
	if sent, lost := p.stop(); lost > 0 || sent < 100 {
		t.Errorf("lost %d of %d, want 0", lost, sent)
	}
}

// probe sends numbered datagrams from one pod to the other, which sends them back.
type probe struct {
	t              *testing.T
	conn           *net.UDPConn
	sent, received atomic.Int64
	quit, done     chan struct{}
}

func startProbe(t *testing.T, from, to *side) *probe {
	t.Helper()
	target := &net.UDPAddr{IP: net.ParseIP(to.podAddr()), Port: 7000}
	var echo *net.UDPConn
	p := &probe{t: t, quit: make(chan struct{}), done: make(chan struct{})}
	var err error
	nstest.Do(t, to.pod, func() { echo, err = net.ListenUDP("udp", target) })
	if err != nil {
		t.Fatal(err)
	}
	nstest.Do(t, from.pod, func() { p.conn, err = net.DialUDP("udp", nil, target) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		echo.Close()
		p.conn.Close()
	})
	go func() {
		buf := make([]byte, 16)
		for {
			n, from, err := echo.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDP(buf[:n], from)
		}
	}()
	p.warm()
	go p.receive()
	go p.send()
	return p
}

// warm waits until ARP is done.
func (p *probe) warm() {
	p.t.Helper()
	buf := make([]byte, 16)
	for range 20 {
		_, _ = p.conn.Write(make([]byte, 8))
		_ = p.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := p.conn.Read(buf); err == nil {
			_ = p.conn.SetReadDeadline(time.Time{})
			return
		}
	}
	p.t.Fatal("the pods do not reach each other")
}

func (p *probe) send() {
	defer close(p.done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			_, _ = p.conn.Write(binary.BigEndian.AppendUint64(nil, n)) // an error is a packet that does not come back
			p.sent.Add(1)
		}
	}
}

func (p *probe) receive() {
	seen := map[uint64]bool{0: true}
	buf := make([]byte, 16)
	for {
		_, err := p.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error
		}
		if number := binary.BigEndian.Uint64(buf); !seen[number] {
			seen[number] = true
			p.received.Add(1)
		}
	}
}

func (p *probe) count() (sent, lost int64) {
	received := p.received.Load()
	sent = p.sent.Load()
	return sent, sent - received
}

// stop waits for what is on its way.
func (p *probe) stop() (sent, lost int64) {
	close(p.quit)
	<-p.done
	for range 20 {
		if sent, lost = p.count(); lost == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.conn.Close()
	return sent, lost
}

// stream sends over TCP from one namespace to another, and counts what arrives.
func stream(t *testing.T, from, to netns.NsHandle, addr string, transferred *atomic.Int64) (stop func()) {
	t.Helper()
	var listener net.Listener
	var out net.Conn
	var err error
	nstest.Do(t, to, func() { listener, err = net.Listen("tcp", addr+":7001") })
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 2)
	go func() {
		in, err := listener.Accept()
		if err != nil {
			failed <- err
			return
		}
		defer in.Close()
		_, err = io.Copy(io.Discard, io.TeeReader(in, counter{transferred}))
		failed <- err
	}()
	nstest.Do(t, from, func() {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		out, err = dialer.Dial("tcp", addr+":7001")
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1<<16)
		for {
			if _, err := out.Write(b); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					failed <- err
				}
				return
			}
			time.Sleep(time.Millisecond) // two cores for everybody
		}
	}()
	return func() {
		out.Close()
		listener.Close()
		if err := <-failed; err != nil {
			t.Errorf("the connection broke: %v", err)
		}
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
