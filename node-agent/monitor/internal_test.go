package monitor

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Events that the kernel had to drop ask for a full pass.
func TestLostEvents(t *testing.T) {
	nstest.Enter(t)
	s := newRTNetlink()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		addr := &netlink.Addr{IPNet: netlink.NewIPNet([]byte{10, 0, 0, byte(i)})}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	lost, err := s.drain(func(uint16, uint32, []byte) { seen++ })
	if err != nil || !lost || seen >= 50 {
		t.Errorf("got lost=%t, error %v after %d messages, want lost", lost, err, seen)
	}
}

// A socket that fails is opened again, a full pass is asked for, and events come again.
func TestSocketIsReopened(t *testing.T) {
	ns := nstest.Enter(t)
	nstest.Run(t, "ip link add eth0 type veth peer name eth1")
	m, err := New(Options{Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	m.SetInterest(Interest{Underlay: "eth0"})
	// A pipe in the socket's place cannot be read as a socket.
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	if err := unix.Dup3(pipe[0], m.rtnl.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[0])
	ctx, cancel := context.WithCancel(context.Background())
	done := nstest.Go(t, ns, func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer func() {
		cancel()
		<-done
	}()
	if _, err := unix.Write(pipe[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	waitFor := func(cause Cause) {
		t.Helper()
		for deadline := time.After(5 * time.Second); ; {
			select {
			case e := <-m.Events():
				if e.Causes&cause != 0 && e.Full {
					return
				}
			case <-deadline:
				t.Fatalf("no event %s", cause)
			}
		}
	}
	waitFor(CauseLost)
	for ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		select {
		case <-m.Events():
			continue
		default:
		}
		break
	}
	nstest.Run(t, "ip link set eth0 mtu 1400")
	waitFor(CauseLink)
}

// Events that nobody receives become one that has all of it.
func TestEventsMerge(t *testing.T) {
	m := &Monitor{events: make(chan Event, 1), opts: Options{Log: logr.Discard()}}
	m.tell(0)
	m.tell(CauseRoute)
	m.tell(CauseAddress)
	m.tell(CauseFile)
	e := <-m.Events()
	if got := e.Causes.String(); got != "address,route,file" || !e.Full {
		t.Errorf("got %s, full=%t, want address,route,file, full", got, e.Full)
	}
	m.tell(CauseNeigh)
	if e := <-m.Events(); e.Full || e.Causes != CauseNeigh {
		t.Errorf("got %s, full=%t, want neigh, not full", e.Causes, e.Full)
	}
	select {
	case e := <-m.Events():
		t.Errorf("got another event %s", e.Causes)
	default:
	}
}

// Only the named files matter, and a directory that comes back is watched again.
func TestFileWatch(t *testing.T) {
	dir := t.TempDir()
	file, all := filepath.Join(dir, "a", "b", "file"), filepath.Join(dir, "all")
	w, err := newFileWatch([]string{file, all + "/", filepath.Join(all, "one")})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w.fd)
	if !w.rewatch() {
		t.Error("directories that do not exist are watched")
	}
	for range 2 {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(all, 0o755); err != nil {
			t.Fatal(err)
		}
		if w.rewatch() {
			t.Error("a directory that exists is not watched")
		}
		for _, step := range []struct {
			what string
			do   func() error
			want bool
		}{
			{"another file", func() error { return os.WriteFile(file+"x", nil, 0o600) }, false},
			{"written", func() error { return os.WriteFile(file, []byte("x"), 0o600) }, true},
			{"read", func() error { _, err := os.ReadFile(file); return err }, false},
			{"mode", func() error { return os.Chmod(file, 0o644) }, true},
			{"renamed away", func() error { return os.Rename(file, file+"y") }, true},
			{"renamed to", func() error { return os.Rename(file+"y", file) }, true},
			{"deleted", func() error { return os.Remove(file) }, true},
			{"any name", func() error { return os.WriteFile(filepath.Join(all, "10-other.conflist"), nil, 0o600) }, true},
			{"hidden name", func() error { return os.WriteFile(filepath.Join(all, ".tmp"), nil, 0o600) }, false},
			{"directory deleted", func() error { return os.RemoveAll(filepath.Dir(file)) }, true},
			{"directory moved", func() error { return os.Rename(all, filepath.Join(dir, "gone")) }, true},
			{"in the moved directory", func() error { return os.WriteFile(filepath.Join(dir, "gone", "x"), nil, 0o600) }, false},
			{"cleanup", func() error { return os.RemoveAll(filepath.Join(dir, "gone")) }, false},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			if got := w.drain(); got != step.want {
				t.Errorf("%s: got %t, want %t", step.what, got, step.want)
			}
		}
	}
}

func testFilter() *filter {
	f := newFilter(func(name string) int { return map[string]int{"cni0": 1, "hs1-8472": 2, "eth0": 3}[name] })
	f.setInterest(&Interest{Underlay: "eth0", State: desired.State{
		Links:  map[string]desired.Link{"cni0": {Kind: desired.KindBridge}, "hs1-8472": {Kind: desired.KindVXLAN}},
		FDB:    map[desired.FDBKey]netip.Addr{{Device: "hs1-8472", MAC: network.MAC{2}}: netip.MustParseAddr("192.0.2.2")},
		Routes: map[netip.Prefix]desired.Route{netip.MustParsePrefix("10.244.2.0/24"): {Unreachable: true}},
		Loose:  map[string]struct{}{"eth0": {}},
	}})
	return &f
}

// Nothing that comes in stops the monitor.
func FuzzSee(f *testing.F) {
	for _, typ := range []uint16{
		unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELROUTE,
		unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, rtmNewNetconf, unix.NFNL_SUBSYS_NFTABLES << 8,
	} {
		for length := range 40 {
			body := make([]byte, length)
			for i := range body {
				body[i] = byte(i % 5)
			}
			f.Add(typ, body)
		}
	}
	f.Fuzz(func(_ *testing.T, typ uint16, body []byte) {
		filter := testFilter()
		filter.see(unix.NETLINK_ROUTE, typ, 0, body)
		filter.see(unix.NETLINK_NETFILTER, typ, 0, body)
		datagram := binary.NativeEndian.AppendUint32(nil, uint32(len(body)+unix.SizeofNlMsghdr))
		datagram = append(datagram, make([]byte, unix.SizeofNlMsghdr-4)...)
		eachMessage(append(datagram, body...), func(uint16, uint32, []byte) {})
		eachMessage(body, func(uint16, uint32, []byte) {})
	})
}

// BenchmarkFilter measures what one message costs that is not hopsack's business: a pod's device.
func BenchmarkFilter(b *testing.B) {
	nstest.Enter(b)
	s := newRTNetlink()
	if err := s.open(); err != nil {
		b.Fatal(err)
	}
	defer s.close()
	nstest.Run(b, "ip link add veth0 type veth peer name veth1")
	var messages [][]byte
	var types []uint16
	if _, err := s.drain(func(typ uint16, _ uint32, body []byte) {
		messages, types = append(messages, append([]byte(nil), body...)), append(types, typ)
	}); err != nil || len(messages) == 0 {
		b.Fatalf("got %d messages, error %v", len(messages), err)
	}
	f := testFilter()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.see(unix.NETLINK_ROUTE, types[i%len(types)], 0, messages[i%len(messages)])
	}
}
