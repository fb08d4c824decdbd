package monitor_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/monitor"
)

// changing are the parts of a picture that are others after a repair: indexes, bridge timers, carrier.
var changing = regexp.MustCompile(`(?m)^\d+: |_timer +[\d.]+|tso_max_size \d+|linkdown|NO-CARRIER,|state \w+`)

// steady is a picture without them, in an order that does not tell what was made last.
func (n *node) steady() []string {
	n.t.Helper()
	return slices.Sorted(strings.SplitSeq(changing.ReplaceAllString(n.picture(), ""), "\n"))
}

// Whatever somebody does to what is hopsack's, the monitor says so at once, and a pass puts it right.
func TestDriftIsRepaired(t *testing.T) {
	for name, drift := range map[string]string{
		"route deleted":           "ip route del 10.244.2.0/24",
		"route replaced":          "ip route replace 10.244.2.0/24 via 10.244.3.0 dev hs1-8472 onlink proto 104",
		"route without mtu":       "ip route replace 10.244.2.0/24 via 10.244.2.0 dev hs1-8472 onlink proto 104 src 10.244.1.1",
		"direct route deleted":    "ip route del 10.244.4.0/24",
		"unreachable deleted":     "ip route del unreachable 10.244.0.0/16",
		"route added":             "ip route add 10.244.77.0/24 dev hs1-8472 proto 104",
		"ip rule deleted":         "ip rule del priority 104",
		"ip rule added":           "ip rule add priority 104 protocol 104 from 10.244.1.2 ipproto udp sport 10403 lookup 10402",
		"ip rule of all packets":  "ip rule add priority 103 protocol 104 lookup 10400",
		"table route deleted":     "ip route del 10.244.2.0/30 table 10400",
		"table route replaced":    "ip route replace 10.244.2.0/30 dev hs1-8472 proto 104 table 10400",
		"table route added":       "ip route add 10.244.3.0/30 dev hs1-8472 proto 104 table 10400",
		"table flushed of routes": "ip route flush table 10400",
		"route in a new table":    "ip route add 10.244.3.0/30 dev hs1-8472 proto 104 table 10410",
		"tun deleted":             "ip link del hsu8285",
		"tun down":                "ip link set hsu8285 down",
		"tun mtu":                 "ip link set hsu8285 mtu 1280",
		"tun address deleted":     "ip addr del 10.244.1.0/32 dev hsu8285",
		"tun of another kind":     "ip link del hsu8285\nip tuntap add dev hsu8285 mode tun",
		"fdb deleted":             "bridge fdb del 02:00:00:00:00:02 dev hs1-8472 self",
		"fdb replaced":            "bridge fdb replace 02:00:00:00:00:02 dev hs1-8472 dst 172.30.0.66 self permanent",
		"fdb not permanent":       "bridge fdb replace 02:00:00:00:00:02 dev hs1-8472 dst 172.30.0.2 self dynamic",
		"fdb added":               "bridge fdb add 02:00:00:00:00:77 dev hs1-8472 dst 172.30.0.77 self permanent",
		"fdb default added":       "bridge fdb append 00:00:00:00:00:00 dev hs1-8472 dst 172.30.0.77 self permanent",
		"arp deleted":             "ip neigh del 10.244.2.0 dev hs1-8472",
		"arp replaced":            "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:66 dev hs1-8472 nud permanent",
		"arp not permanent":       "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev hs1-8472 nud stale",
		"arp added":               "ip neigh add 10.244.77.0 lladdr 02:00:00:00:00:66 dev hs1-8472 nud permanent",
		"arp flushed":             "ip neigh flush dev hs1-8472 nud all",
		"vtep mac":                "ip link set hs1-8472 address 02:99:99:99:99:99",
		"tunnel mtu":              "ip link set hs1-8472 mtu 1280",
		"tunnel down":             "ip link set hs1-8472 down",
		"tunnel alias":            "ip link set hs1-8472 alias x",
		"tunnel local":            "ip link set hs1-8472 type vxlan local 172.30.0.99",
		"tunnel learning":         "ip link set hs1-8472 type vxlan learning",
		"tunnel in a bridge":      "ip link set hs1-8472 master cni0",
		"tunnel deleted":          "ip link del hs1-8472",
		"tunnel renamed":          "ip link set hs1-8472 down name x up",
		"tunnel address deleted":  "ip addr del 10.244.1.0/32 dev hs1-8472",
		"tunnel address added":    "ip addr add 10.1.1.1/32 dev hs1-8472",
		"bridge address deleted":  "ip addr del 10.244.1.1/24 dev cni0",
		"bridge addresses gone":   "ip addr flush dev cni0",
		"bridge mac":              "ip link set cni0 address 02:99:99:99:99:98",
		"bridge mtu":              "ip link set cni0 mtu 1280",
		"bridge down":             "ip link set cni0 down",
		"bridge deleted":          "ip link del cni0",
		"port taken off":          "ip link set port0 nomaster",
		"underlay down and up":    "ip link set eth0 down\nip link set eth0 up\nip route add default via 172.30.0.254",
		"table deleted":           "nft delete table inet hopsack",
		"table flushed":           "nft flush table inet hopsack",
		"rules flushed":           "nft flush ruleset",
		"rule deleted":            "nft flush chain inet hopsack postrouting",
		"peer deleted":            "nft delete element inet hopsack peers4 {172.30.0.2}",
		"forward rule deleted":    "iptables-nft -D FORWARD 1",
		"rp_filter of the tunnel": "sysctl -qw net.ipv4.conf.hs1-8472.rp_filter=1",
		"rp_filter of eth0":       "sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
		"forwarding off":          "sysctl -qw net.ipv4.ip_forward=0",
		"file changed":            "cp /dev/null DIR/run/cni.json",
		"file deleted":            "rm DIR/run/cni.json",
		"file moved":              "mv DIR/run/cni.json DIR/run/x",
		"file made unreadable":    "cp --attributes-only /dev/null DIR/run/cni.json\nrm DIR/run/cni.json",
		"directory deleted":       "rm -r DIR/run",
		"file in directory":       "rm DIR/net.d/05-x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			want := n.steady()
			started := time.Now()
			for command := range strings.Lines(strings.ReplaceAll(drift, "DIR", n.dir)) {
				nstest.Run(t, command)
			}
			left := patience
			for {
				e, came := n.event(left)
				if !came {
					t.Fatalf("no event, or none that ended with the right state: (-want +got)\n%s", cmp.Diff(want, n.steady()))
				}
				n.sync()
				took := time.Since(started)
				if left = patience - took; slices.Equal(n.steady(), want) {
					t.Logf("%s, repaired after %v", e.Causes, took.Round(100*time.Microsecond))
					break
				}
			}
			n.settle()
		})
	}
}

// A pod that starts and stops, and what others do to their own tables, routes and devices, wakes nobody.
func TestOthersWakeNobody(t *testing.T) {
	n := newNode(t)
	pod := nstest.New(t)
	startPod := func(i int) {
		host := fmt.Sprintf("veth%d", i)
		n.run("ip link add "+host+" mtu 1500 type veth peer name pod0", fmt.Sprintf("ip link set pod0 netns /proc/%d/fd/%d", os.Getpid(), int(pod)),
			"ip link set "+host+" master cni0", "ip link set "+host+" up", "bridge link set dev "+host+" hairpin on", "ip link set "+host+" alias hopsack-pod")
		nstest.Do(t, pod, func() {
			n.run(fmt.Sprintf("ip addr add 10.244.1.%d/24 dev pod0", i+2), "ip link set pod0 up", "ip route add default via 10.244.1.1")
			_ = exec.Command("ping", "-c1", "-W1", "10.244.1.1").Run() // ARP on the bridge
			if i%2 == 0 {
				n.run("ip link del pod0")
			}
		})
		if i%2 != 0 {
			n.run("ip link del " + host)
		}
	}
	for name, others := range map[string]func(){
		"pods": func() {
			for i := range 5 {
				startPod(i)
			}
		},
		"kube-proxy": func() {
			n.run("iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -A KUBE-SERVICES -j RETURN", "iptables-nft -N KUBE-FORWARD",
				"iptables-nft -A KUBE-FORWARD -j ACCEPT", "nft add table ip kube-proxy", "nft delete table ip kube-proxy",
				"sysctl -qw net.ipv4.conf.lo.route_localnet=1")
		},
		"another network": func() {
			n.run("ip link add br9 type bridge", "ip link set br9 up", "ip link del br9", "ip route add 10.9.0.0/16 dev lo",
				"ip route del 10.9.0.0/16", "ip route add 10.244.0.0/16 dev eth0 table 9", "ip rule add priority 77 lookup 9", "ip neigh add 10.244.1.9 lladdr 02:00:00:00:00:09 dev cni0",
				"ip neigh add 172.30.0.9 lladdr 02:00:00:00:00:09 dev eth0")
		},
		"other files": func() {
			for _, name := range []string{"run/.hopsack-1", "run/x", "net.d/.x", "x"} {
				path := filepath.Join(n.dir, name)
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		others()
		if e, came := n.event(quiet); came {
			t.Errorf("%s: got event %q, want none", name, e.Causes)
		}
		if c := n.sync(); c.Total() > 0 {
			t.Errorf("%s: got changes %q, want none", name, c)
		}
	}
}

// A peer that joins or leaves wakes nobody either: what a pass writes is no news.
func TestOwnWritesWakeNobody(t *testing.T) {
	n := newNode(t)
	with := n.want
	without := n.state()
	const mac, node, subnet = "02:00:00:00:00:02", "172.30.0.2", "10.244.2.0/24"
	for key := range without.FDB {
		if key.MAC.String() == mac {
			delete(without.FDB, key)
		}
	}
	delete(without.Neighs, desired.NeighKey{Device: "hs1-8472", IP: netip.MustParsePrefix(subnet).Addr()})
	delete(without.Routes, netip.MustParsePrefix(subnet))
	without.Firewall.Peers = slices.DeleteFunc(without.Firewall.Peers, func(a netip.Addr) bool { return a.String() == node })
	for _, want := range []desired.State{without, with, without, with} {
		n.want = want
		if c := n.sync(); c.String() != "fdb=1 firewall=1 neigh=1 route=1" {
			t.Errorf("got changes %q, want one of each", c)
		}
		if e, came := n.event(quiet); came {
			t.Errorf("got event %q, want none", e.Causes)
		}
	}
}

// A foreign address on the bridge is a condition, which ends when somebody takes the address away.
func TestForeignAddressLeaves(t *testing.T) {
	n := newNode(t)
	for _, command := range []string{"ip addr add 10.9.9.1/24 dev cni0", "ip addr del 10.9.9.1/24 dev cni0"} {
		nstest.Run(t, command)
		e, came := n.event(patience)
		if !came || !strings.Contains(e.Causes.String(), "address") {
			t.Errorf("%s: got event %t (%s), want one about an address", command, came, e.Causes)
		}
		for came {
			_, came = n.event(quiet)
		}
	}
}

// A pod's port that somebody put onto a bridge of their own is a condition, which begins at once; while the node has no
// network, where a port is matters to nobody.
func TestPortLeavesTheBridge(t *testing.T) {
	n := newNode(t)
	n.run("ip link add br9 type bridge")
	for _, state := range []desired.State{n.want, {}} {
		n.monitor.SetInterest(monitor.Interest{State: state, Underlay: "eth0"})
		time.Sleep(quiet) // until it is taken up
		nstest.Run(t, "ip link set port0 master br9")
		wanted, wait := len(state.Links) > 0, quiet
		if wanted {
			wait = patience
		}
		e, came := n.event(wait)
		if came != wanted || wanted && !strings.Contains(e.Causes.String(), "link") {
			t.Errorf("with %d devices wanted: got event %t (%s)", len(state.Links), came, e.Causes)
		}
		for came {
			_, came = n.event(quiet)
		}
		nstest.Run(t, "ip link set port0 master cni0")
		for _, came = n.event(quiet); came; _, came = n.event(quiet) {
		}
	}
}

// What decides about the underlay wakes the agent, what only looks like it does not.
func TestUnderlayEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		commands string
		again    string // done after the first event was received
		full     bool
		silent   bool
	}{
		"address added":          {commands: "ip addr add 172.30.0.9/24 dev eth0", full: true},
		"address deleted":        {commands: "ip addr del 172.30.0.1/24 dev eth0", full: true},
		"address renewed":        {commands: "ip addr add 172.30.0.9/24 dev eth0 valid_lft 100 preferred_lft 100", again: "ip addr change 172.30.0.9/24 dev eth0 valid_lft 200 preferred_lft 200", full: true},
		"address elsewhere":      {commands: "ip addr add 192.0.2.1/24 dev eth0p", full: true},
		"mtu":                    {commands: "ip link set eth0 mtu 1400", full: true},
		"carrier lost":           {commands: "ip link set eth0p down", full: true},
		"default route replaced": {commands: "ip route replace default via 172.30.0.253"},
		"route of the underlay":  {commands: "ip route add 172.31.0.0/16 via 172.30.0.254"},
		"foreign route wanted":   {commands: "ip route replace 10.244.2.0/24 via 172.30.0.254 proto static"},
		"foreign tunnel deleted": {commands: "ip link add f type vxlan id 9 dstport 4789\nip link del f", full: true},
		"strict filtering":       {commands: "sysctl -qw net.ipv4.conf.all.rp_filter=0"},
		"link-local address":     {commands: "ip addr add 169.254.1.1/16 dev eth0", silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			for command := range strings.Lines(tc.commands) {
				nstest.Run(t, command)
			}
			wait := patience // the kernel tells of carriers once a second, to all namespaces together
			if tc.silent {
				wait = quiet
			}
			e, came := n.event(wait)
			if came == tc.silent || e.Full != tc.full {
				t.Errorf("got event %t (%s, full=%t), want %t, full=%t", came, e.Causes, e.Full, !tc.silent, tc.full)
			}
			for came {
				_, came = n.event(quiet)
			}
			if tc.again != "" {
				nstest.Run(t, tc.again)
				if e, came := n.event(quiet); came {
					t.Errorf("got event %q for something known, want none", e.Causes)
				}
			}
		})
	}
}
