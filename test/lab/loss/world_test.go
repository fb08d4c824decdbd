package loss

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a fresh network namespace without a name: it is gone when its file is closed and nothing runs in it.
type space struct {
	file *os.File
	path string
}

// newSpace makes a namespace with lo up, forwarding on and rp_filter off. Without root the test fails.
func newSpace(t *testing.T) *space {
	t.Helper()
	var f *os.File
	done := make(chan error, 1)
	go onOwnThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatalf("make network namespace (needs root): %v", err)
	}
	t.Cleanup(func() { f.Close() })
	s := &space{file: f, path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())}
	s.run(t, "ip link set lo up")
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
		"ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0",
	} {
		s.sysctl(t, name, value)
	}
	return s
}

func (s *space) sysctl(t *testing.T, name, value string) {
	t.Helper()
	err := inNetNS(s.path, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatalf("set %s: %v", name, err)
	}
}

// try runs a command line inside s. Words are split at spaces; nft rules are passed as one word after "nft".
func (s *space) try(line string) (string, error) {
	args := strings.Fields(line)
	if rest, ok := strings.CutPrefix(line, "nft "); ok {
		args = []string{"nft", rest}
	}
	cmd := exec.Command(args[0], args[1:]...)
	var out []byte
	err := inNetNS(s.path, func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return string(out), err
}

func (s *space) run(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if _, err := s.try(line); err != nil {
			t.Fatal(err)
		}
	}
}

// do returns an error instead of ending the test, for use inside Options.During.
func (s *space) do(lines ...string) error {
	for _, line := range lines {
		if _, err := s.try(line); err != nil {
			return err
		}
	}
	return nil
}

// veth joins two namespaces by a pair of devices, both up.
func veth(t *testing.T, a *space, nameA string, b *space, nameB string) {
	t.Helper()
	err := inNetNS(a.path, func() error {
		link := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.file.Fd())),
		}
		return netlink.LinkAdd(link)
	})
	if err != nil {
		t.Fatalf("add veth %s-%s: %v", nameA, nameB, err)
	}
	a.run(t, "ip link set "+nameA+" up")
	b.run(t, "ip link set "+nameB+" up")
}

// pair is two namespaces on one bridge, which is in a third.
type pair struct {
	a, b, mid *space
	from, to  Endpoint
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{a: newSpace(t), b: newSpace(t), mid: newSpace(t)}
	p.mid.run(t, "ip link add br0 type bridge", "ip link set br0 up")
	for i, s := range []*space{p.a, p.b} {
		port := fmt.Sprintf("port%d", i+1)
		veth(t, s, "eth0", p.mid, port)
		p.mid.run(t, "ip link set "+port+" master br0")
		s.run(t, fmt.Sprintf("ip addr add 10.1.0.%d/24 dev eth0", i+1),
			fmt.Sprintf("ip -6 addr add fd00::%d/64 dev eth0 nodad", i+1))
	}
	p.from = Endpoint{Name: "a", NetNS: p.a.path, Addr: netip.MustParseAddr("10.1.0.1")}
	p.to = Endpoint{Name: "b", NetNS: p.b.path, Addr: netip.MustParseAddr("10.1.0.2")}
	return p
}

// cut takes the link to b away for d. It returns how long it was away at least and at most.
func (p *pair) cut(d time.Duration) (least, most time.Duration, err error) {
	err = inNetNS(p.mid.path, func() error {
		port, err := netlink.LinkByName("port2")
		if err != nil {
			return err
		}
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		before := time.Now()
		if err := netlink.LinkSetNoMaster(port); err != nil {
			return err
		}
		cut := time.Now()
		time.Sleep(d)
		least = time.Since(cut)
		err = netlink.LinkSetMaster(port, bridge)
		most = time.Since(before)
		return err
	})
	return least, most, err
}

// measure runs the probe and fails the test on an error. It prints the result line.
func measure(t *testing.T, o Options) Result {
	t.Helper()
	res, err := Run(context.Background(), o)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	logResult(t, res)
	return res
}

func logResult(t *testing.T, res Result) {
	t.Helper()
	var line strings.Builder
	if err := res.WriteJSON(&line); err != nil {
		t.Fatal(err)
	}
	t.Log(strings.TrimSpace(line.String()))
}

// stream returns the named stream's counts or fails the test.
func (r Result) mustStream(t *testing.T, name string) Counts {
	t.Helper()
	c, ok := r.Stream(name)
	if !ok {
		t.Fatalf("no stream %q in %+v", name, r.Streams)
	}
	return c
}

func sleeping(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		time.Sleep(d)
		return nil
	}
}

// lostBeyond is what c lost beyond what the machine dropped meanwhile: what is surely the network's.
func (r Result) lostBeyond(c Counts) int64 { return max(0, c.Lost-r.MachineDropped) }

// atRate fails the test when the named stream did not send rate packets per second of the command, give or take what it
// was kept from or caught up.
func (r Result) atRate(t *testing.T, name string, rate float64) {
	t.Helper()
	c := r.mustStream(t, name)
	want, slack := r.DurationMs*rate/1000, 10+r.JitterMs*rate/1000
	between(t, name+" sent", float64(c.Sent+c.Skipped), want-slack, want+slack)
}

// between fails the test when got is outside low..high.
func between[T int | int64 | float64](t *testing.T, what string, got, low, high T) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: got %v, want %v to %v", what, got, low, high)
	}
}
