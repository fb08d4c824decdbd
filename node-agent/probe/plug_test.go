package probe

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// device is what the host's end looks like, "" when it is not there.
func (w *world) device(i int) string {
	w.t.Helper()
	var out string
	nstest.Do(w.t, w.nodes[i], func() {
		link, err := netlink.LinkByName(Device)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		a := link.Attrs()
		master, err := netlink.LinkByIndex(a.MasterIndex)
		if err != nil {
			w.t.Fatal(err)
		}
		out = fmt.Sprintf("%d %s alias %q master %s mtu %d", a.Index, link.Type(), a.Alias, master.Attrs().Name, a.MTU)
	})
	return out
}

// Configuring anew what is in force changes nothing in the kernel; what somebody took away comes back, and answers at once.
func TestConfigureAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		harm   []string // on node 2
		change func(c *Config)
		anew   bool
	}{
		"nothing":         {nil, func(*Config) {}, false},
		"a path goes":     {nil, func(c *Config) { c.Paths = c.Paths[:2] }, false},
		"a path comes":    {nil, func(c *Config) { c.Paths = append(c.Paths, Path{Name: "x", Port: 10409, MTU: 1450}) }, false},
		"a path's port":   {nil, func(c *Config) { c.Paths[2].Port = 10409 }, false},
		"a peer":          {nil, func(c *Config) { c.Peers = append(c.Peers, netip.MustParsePrefix("10.244.9.0/24")) }, false},
		"device deleted":  {[]string{"ip link del hsprobe"}, func(*Config) {}, true},
		"off the bridge":  {[]string{"ip link set hsprobe nomaster"}, func(*Config) {}, true},
		"device down":     {[]string{"ip link set hsprobe down"}, func(*Config) {}, true},
		"device's MTU":    {[]string{"ip link set hsprobe mtu 1300"}, func(*Config) {}, true},
		"MTU":             {nil, func(c *Config) { c.MTU = 1480; c.Paths[2].MTU = 1480 }, true},
		"another bridge":  {[]string{"ip link set cni0 name cni9"}, func(c *Config) { c.Bridge = "cni9" }, true},
		"another gateway": {[]string{"ip addr add 10.244.2.7/24 dev cni0"}, func(c *Config) { c.Gateway = netip.MustParseAddr("10.244.2.7") }, true},
		"bridge made anew": {[]string{"ip link del cni0", "ip link add cni0 type bridge", "ip addr add 10.244.2.1/24 dev cni0", "ip link set cni0 up",
			"ip route add 10.244.1.0/24 via 10.244.1.0 dev hs1-8472 onlink src 10.244.2.1"}, func(*Config) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.prober(1)
			w.prober(2)
			if !w.ask(1, 2, "").OK {
				t.Fatal("no answer at first")
			}
			before := w.device(2)
			w.in(w.nodes[2], tc.harm...)
			w.prober(2, tc.change)
			if after := w.device(2); (after != before) != tc.anew || !strings.Contains(after, "veth alias \"hopsack-probe\" master cni") {
				t.Errorf("was %s, is %s, want it made anew: %v", before, after, tc.anew)
			}
			// One packet only: nobody's neighbour cache sends it to the device that was.
			w.probers[1].timeout, w.probers[1].tries = 3*time.Second, 1
			if got := w.ask(1, 2, ""); !got.OK {
				t.Errorf("afterwards: got %+v", got)
			}
			if got := w.ask(1, 2, tunnelPath); !got.OK {
				t.Errorf("afterwards, over the tunnel: got %+v", got)
			}
			if got, want := w.ask(1, 2, directPath), name != "a path goes"; name != "MTU" && got.OK != want {
				t.Errorf("afterwards, direct: got %+v, want %v", got, want)
			}
		})
	}
}

// A configuration that is in force already sends nothing to the kernel that others could see.
func TestConfigureWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	updates, done := make(chan netlink.LinkUpdate, 100), make(chan struct{})
	defer close(done)
	nstest.Do(t, w.nodes[1], func() {
		if err := netlink.LinkSubscribe(updates, done); err != nil {
			t.Fatal(err)
		}
	})
	for settled := false; !settled; {
		select {
		case <-updates:
		case <-time.After(300 * time.Millisecond):
			settled = true
		}
	}
	for range 10 {
		w.prober(1)
	}
	select {
	case u := <-updates:
		t.Errorf("device %s was touched", u.Attrs().Name)
	case <-time.After(300 * time.Millisecond):
	}
}

// A part that fails is tried again by the next call, although nothing else has changed.
func TestConfigureRetries(t *testing.T) {
	w := newWorld(t)
	p := New(logger(t))
	defer p.Close()
	taken := w.listen(w.nodes[1], "10.244.1.1:10476")
	configure := func() (err error) {
		nstest.Do(t, w.nodes[1], func() { err = p.Configure(testConfig(1)) })
		return err
	}
	if err := configure(); err == nil {
		t.Error("the port is taken, and no error")
	}
	taken.Close()
	if err := configure(); err != nil {
		t.Error(err)
	}
	w.prober(2)
	if got := p.Ask(t.Context(), "", target(2, "")); !got.OK {
		t.Errorf("got %+v", got)
	}
}

// Configurations that cannot work are refused with what is wrong, and change nothing.
func TestConfigureRefuses(t *testing.T) {
	w := newWorld(t)
	w.in(w.nodes[1], "ip link add hsprobe type bridge")
	for name, tc := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no bridge":      {func(c *Config) { c.Bridge = "" }, "no bridge"},
		"unknown bridge": {func(c *Config) { c.Bridge = "cni5" }, "find bridge cni5"},
		"no address":     {func(c *Config) { c.Address = netip.Prefix{} }, "do not fit"},
		"two families":   {func(c *Config) { c.Gateway = netip.MustParseAddr("fd00::1") }, "do not fit"},
		"tiny MTU":       {func(c *Config) { c.MTU = 100 }, "MTU 100 is too small"},
		"long name":      {func(c *Config) { c.Paths[1].Name = strings.Repeat("x", 65) }, "longer than 64"},
		"foreign device": {func(*Config) {}, "is not hopsack's"},
	} {
		p, c := New(logger(t)), testConfig(1)
		tc.change(&c)
		nstest.Do(t, w.nodes[1], func() {
			if err := p.Configure(c); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got error %v, want %q in it", name, err, tc.want)
			}
		})
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Close leaves no device, no goroutine and no descriptor, and is final.
func TestClose(t *testing.T) {
	w := newWorld(t)
	count := func() [2]int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return [2]int{runtime.NumGoroutine(), len(fds)}
	}
	New(logger(t)).Close() // the first socket of a process opens descriptors of the runtime, too
	warm := New(logger(t))
	w.configure(1, warm)
	warm.Close()
	before := count()
	p := New(logger(t))
	w.configure(1, p)
	w.configure(1, p, func(c *Config) { c.MTU = 1400 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.device(1); got != "" {
		t.Errorf("left behind: %s", got)
	}
	eventually(t, "goroutines and descriptors gone", func() bool {
		after := count()
		return after[0] <= before[0] && after[1] <= before[1]
	})
	if err := p.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	nstest.Do(t, w.nodes[1], func() {
		if err := p.Configure(testConfig(1)); err == nil {
			t.Error("configured although closed")
		}
	})
}

const helperEnv = "PROBE_TEST_HELPER"

// runHelper is the process that is killed.
func runHelper() {
	p := New(logr.Discard())
	if err := p.Configure(testConfig(1)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// helper runs a prober of node 1 in a process of its own, and returns what kills it.
func (w *world) helper() (kill func()) {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	nstest.Do(w.t, w.nodes[1], func() {
		if err := cmd.Start(); err != nil {
			w.t.Fatal(err)
		}
	})
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	w.t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		w.t.Fatalf("helper says %q, %v", line, err)
	}
	return kill
}

// A process that is killed leaves nothing: the kernel takes the namespace, and the device with it.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := mounts()
	kill := w.helper()
	if w.device(1) == "" {
		t.Fatal("no device")
	}
	if after := mounts(); after != before {
		t.Errorf("mounts were %s\nare %s", before, after)
	}
	kill()
	eventually(t, "device gone", func() bool { return w.device(1) == "" })
}

// What a process left that is dead, or about to die, is replaced at once.
func TestLeftoverReplaced(t *testing.T) {
	w := newWorld(t)
	w.prober(2)
	for range 5 {
		w.helper()()
		p := New(logger(t))
		w.configure(1, p)
		if got := p.Ask(t.Context(), "", target(2, "")); !got.OK {
			t.Errorf("after a kill: got %+v", got)
		}
		p.Close()
	}
	w.helper() // lives on
	p := New(logger(t))
	defer p.Close()
	nstest.Do(t, w.nodes[1], func() {
		err := p.Configure(testConfig(1)) // the gateway's port is the other's
		if err == nil {
			t.Error("no error although another process has the port")
		}
	})
	if got := p.Ask(t.Context(), "", target(2, "")); !got.OK {
		t.Errorf("beside another process: got %+v", got)
	}
}
