package dataplane_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// routesTo lists the routes to a prefix as ip prints them.
func routesTo(t *testing.T, p netip.Prefix) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(nstest.Run(t, "ip route show exact "+p.String())) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// Whatever somebody does to hopsack's routes, a pass puts right, and a foreign route at a wanted prefix is left alone.
func TestRoutesAfterInterference(t *testing.T) {
	const (
		good    = "10.64.2.0/24 via 10.64.2.0 dev hs1-8472 proto 104 src 10.64.1.1 onlink mtu 1450"
		foreign = "is not hopsack's, and hopsack needs the prefix"
	)
	for name, tc := range map[string]struct {
		do      string
		want    []string // nil means the good route alone
		problem string
		changes string
	}{
		"deleted":            {do: "ip route del 10.64.2.0/24", changes: "route=1"},
		"other gateway":      {do: "ip route replace 10.64.2.0/24 via 10.64.9.0 dev hs1-8472 onlink proto 104", changes: "route=1"},
		"other source":       {do: "ip route replace 10.64.2.0/24 via 10.64.2.0 dev hs1-8472 onlink proto 104 mtu 1450", changes: "route=1"},
		"no mtu":             {do: "ip route replace 10.64.2.0/24 via 10.64.2.0 dev hs1-8472 onlink proto 104 src 10.64.1.1", changes: "route=1"},
		"another metric set": {do: "ip route replace 10.64.2.0/24 via 10.64.2.0 dev hs1-8472 onlink proto 104 src 10.64.1.1 mtu 1450 advmss 500", changes: "route=1"},
		"unreachable":        {do: "ip route replace unreachable 10.64.2.0/24 proto 104", changes: "route=1"},
		"blackhole":          {do: "ip route replace blackhole 10.64.2.0/24 proto 104", changes: "route=1"},
		"two next hops":      {do: "ip route replace 10.64.2.0/24 proto 104 nexthop via 10.64.2.0 dev hs1-8472 onlink nexthop via 10.64.3.0 dev hs1-8472 onlink", changes: "route=1"},
		"second one":         {do: "ip route append 10.64.2.0/24 via 10.64.9.0 dev hs1-8472 onlink proto 104", changes: "route=1"},
		"second one first":   {do: "ip route prepend 10.64.2.0/24 via 10.64.9.0 dev hs1-8472 onlink proto 104", changes: "route=1"},
		"other metric":       {do: "ip route add 10.64.2.0/24 via 10.64.9.0 dev hs1-8472 onlink proto 104 metric 7", changes: "route=1"},
		"one nobody wants":   {do: "ip route add 10.64.200.0/24 via 10.64.9.0 dev hs1-8472 onlink proto 104", changes: "route=1"},
		"foreign elsewhere":  {do: "ip route add 10.64.200.0/24 dev eth0"},
		"foreign metric": {
			do: "ip route add 10.64.2.0/24 dev eth0 metric 7", want: []string{good, "10.64.2.0/24 dev eth0 scope link metric 7"},
		},
		"foreign instead": {
			do: "ip route replace 10.64.2.0/24 dev eth0 proto static", want: []string{"10.64.2.0/24 dev eth0 proto static scope link"},
			problem: "route 10.64.2.0/24 dev eth0 proto 4 " + foreign,
		},
		"foreign before": {
			do: "ip route prepend 10.64.2.0/24 dev eth0", want: []string{"10.64.2.0/24 dev eth0 scope link", good},
			problem: "route 10.64.2.0/24 dev eth0 proto 3 " + foreign,
		},
		"foreign after": {
			do: "ip route append 10.64.2.0/24 dev eth0", want: []string{good, "10.64.2.0/24 dev eth0 scope link"},
			problem: "route 10.64.2.0/24 dev eth0 proto 3 " + foreign,
		},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			withUnderlay(t)
			o := options(t)
			d := newDataplane(t, o)
			want := nodeState(o.StateDir, 1, 2, 3)
			sync(t, d, want)
			nstest.Run(t, tc.do)
			r := sync(t, d, want)
			if got := r.Changes.String(); got != tc.changes {
				t.Errorf("got changes %q, want %q", got, tc.changes)
			}
			var problems []desired.Problem
			if tc.problem != "" {
				problems = []desired.Problem{{Reason: v1alpha1.ReasonForeignRoute, Message: tc.problem}}
			}
			if diff := cmp.Diff(problems, r.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if tc.want == nil {
				tc.want = []string{good}
			}
			if diff := cmp.Diff(tc.want, routesTo(t, subnet(2))); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			settled(t, d, want)
			if tc.problem != "" {
				nstest.Run(t, "ip route del 10.64.2.0/24 dev eth0")
				if r := sync(t, d, want); len(r.Problems) > 0 {
					t.Errorf("got problems %v after the foreign route went, want none", r.Problems)
				}
				if diff := cmp.Diff([]string{good}, routesTo(t, subnet(2))); diff != "" {
					t.Errorf("routes (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A way changes in one step in each direction, from and to "unreachable" too.
func TestRouteChanges(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d := newDataplane(t, o)
	encapsulated, plain, none := nodeState(o.StateDir, 1, 2), nodeState(o.StateDir, 1, 2), nodeState(o.StateDir, 1, 2)
	direct(plain, 1, 2)
	none.Routes[subnet(2)] = desired.Route{Unreachable: true}
	link := nodeState(o.StateDir, 1, 2)
	link.Routes[subnet(2)] = desired.Route{Device: "eth0"}
	sync(t, d, encapsulated)
	for _, step := range []struct {
		want  desired.State
		route string
	}{
		{plain, "10.64.2.0/24 via 172.30.0.2 dev eth0 proto 104 src 10.64.1.1"},
		{none, "unreachable 10.64.2.0/24 proto 104"},
		{encapsulated, "10.64.2.0/24 via 10.64.2.0 dev hs1-8472 proto 104 src 10.64.1.1 onlink mtu 1450"},
		{none, "unreachable 10.64.2.0/24 proto 104"},
		{plain, "10.64.2.0/24 via 172.30.0.2 dev eth0 proto 104 src 10.64.1.1"},
		{link, "10.64.2.0/24 dev eth0 proto 104 scope link"},
		{encapsulated, "10.64.2.0/24 via 10.64.2.0 dev hs1-8472 proto 104 src 10.64.1.1 onlink mtu 1450"},
	} {
		if got := sync(t, d, step.want).Changes.String(); got != "route=1" {
			t.Errorf("to %s: got changes %q, want route=1", step.route, got)
		}
		if diff := cmp.Diff([]string{step.route}, routesTo(t, subnet(2))); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
		settled(t, d, step.want)
	}
}

// A way that changes is replaced: the kernel never tells that a route has gone, so there was one at every moment.
func TestRouteIsReplaced(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d := newDataplane(t, o)
	encapsulated, plain, none := nodeState(o.StateDir, 1, 2), nodeState(o.StateDir, 1, 2), nodeState(o.StateDir, 1, 2)
	direct(plain, 1, 2)
	none.Routes[subnet(2)] = desired.Route{Unreachable: true}
	sync(t, d, encapsulated)
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if err := events.SetReceiveTimeout(&unix.Timeval{Usec: 1000}); err != nil {
		t.Fatal(err)
	}
	steps := []desired.State{plain, encapsulated, none, plain, none, encapsulated}
	for _, want := range steps {
		sync(t, d, want)
	}
	set := 0
	for { // whatever was told waits in the socket by now
		messages, _, err := events.Receive()
		if err != nil {
			break
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_DELROUTE {
				t.Error("a route was deleted")
			}
			set++
		}
	}
	if set != len(steps) {
		t.Errorf("got %d events in %d changes, want one for each", set, len(steps))
	}
}

// Routes whose device is missing are an error that names the device, once; the others are made, and what is there stays.
func TestRoutesWithoutDevice(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2, 3, 4)
	sync(t, d, want)
	for _, i := range []int{2, 3} {
		want.Routes[subnet(i)] = desired.Route{Device: "eth9", Gateway: underlay(i), Source: gateway(1)}
	}
	delete(want.Routes, subnet(4))
	delete(want.Links, tunnel)
	_, err := d.Sync(context.Background(), want, false)
	if err == nil || !strings.Contains(err.Error(), "set routes on eth9: there is no such device") || strings.Count(err.Error(), "eth9") != 1 {
		t.Errorf("got error %v, want one that names eth9 once", err)
	}
	contains(t, "ip route", "10.64.2.0/24 via 10.64.2.0 dev hs1-8472") // and so the device is still there
	if got := routesTo(t, subnet(4)); len(got) > 0 {
		t.Errorf("got routes %q, want none", got)
	}
}

// IPv6 is data, not another code path.
func TestIPv6(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	nstest.Run(t, "ip addr add fd30::1/64 dev eth0 nodad")
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1)
	l := want.Links[tunnel]
	l.Local = addr("fd30::1")
	want.Links[tunnel] = l
	want.Addrs[desired.AddrKey{Device: "cni0", Prefix: prefix("fd64:0:0:1::1/64")}] = desired.ScopeGlobal
	want.Addrs[desired.AddrKey{Device: tunnel, Prefix: prefix("fd64:0:0:1::/128")}] = desired.ScopeLink
	want.FDB[desired.FDBKey{Device: tunnel, MAC: vtep(2)}] = addr("fd30::2")
	want.Neighs[desired.NeighKey{Device: tunnel, IP: addr("fd64:0:0:2::")}] = vtep(2)
	want.Routes[prefix("fd64::/32")] = desired.Route{Unreachable: true}
	want.Routes[prefix("fd64:0:0:2::/64")] = desired.Route{
		Device: tunnel, Gateway: addr("fd64:0:0:2::"), OnLink: true, Source: addr("fd64:0:0:1::1"), MTU: 1430,
	}
	want.Routes[prefix("fd64:0:0:3::/64")] = desired.Route{Device: "eth0", Gateway: addr("fd30::3"), Source: addr("fd64:0:0:1::1")}
	want.Firewall.PodNetworks = append(want.Firewall.PodNetworks, prefix("fd64::/32"))
	want.Firewall.LocalSubnets = append(want.Firewall.LocalSubnets, prefix("fd64:0:0:1::/64"))
	want.Firewall.Peers = []netip.Addr{addr("fd30::2")}
	want.Firewall.NodeAddrs = append(want.Firewall.NodeAddrs, addr("fd64:0:0:1::1"))
	sync(t, d, want)
	contains(t, "ip -6 route", "fd64:0:0:2::/64 via fd64:0:0:2:: dev hs1-8472 proto 104 src fd64:0:0:1::1 metric 1024 onlink mtu 1430")
	contains(t, "ip -6 route", "unreachable fd64::/32")
	contains(t, "ip6tables-nft -S FORWARD", "-A FORWARD -d fd64::/32")
	settled(t, d, want)
	want.Routes[prefix("fd64:0:0:2::/64")] = want.Routes[prefix("fd64:0:0:3::/64")]
	if diff := cmp.Diff(dataplane.Changes{"route": 1}, sync(t, d, want).Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	settled(t, d, want)
	sync(t, d, desired.State{})
	if out := nstest.Run(t, "ip -6 route show proto 104"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}
