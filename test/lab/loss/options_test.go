package loss

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func validOptions() Options {
	addr := netip.MustParseAddr
	return Options{
		From:   Endpoint{Name: "a", NetNS: "/a", Addr: addr("10.0.0.1")},
		To:     Endpoint{Name: "b", NetNS: "/b", Addr: addr("10.0.0.2")},
		During: func(context.Context) error { return nil },
	}
}

func TestOptionsDefaults(t *testing.T) {
	o := validOptions()
	o.NodePort = &NodePort{Node: Endpoint{Name: "n", NetNS: "/n", Addr: netip.MustParseAddr("10.0.0.3"), Underlay: netip.MustParseAddr("172.30.0.11")}}
	got, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if got.Rate != 1000 || got.Size != 64 || got.WarmUp != DefaultWarmUp || got.NodePort.Mark != 0x4000 {
		t.Errorf("got %+v", got)
	}
	if got.From.Source != got.From.Addr || got.NodePort.Node.Source != got.NodePort.Node.Addr {
		t.Errorf("source: got %s and %s, want the addresses", got.From.Source, got.NodePort.Node.Source)
	}
	if o.NodePort.Mark != 0 {
		t.Error("the caller's NodePort was changed")
	}
}

func TestOptionsRefused(t *testing.T) {
	cases := map[string]struct {
		change func(o *Options)
		want   string
	}{
		"no name":      {func(o *Options) { o.From.Name = "" }, "an endpoint has no name"},
		"no namespace": {func(o *Options) { o.To.NetNS = "" }, "b has no network namespace"},
		"no address":   {func(o *Options) { o.To.Addr = netip.Addr{} }, "b has no address in the pod network"},
		"families":     {func(o *Options) { o.To.Addr = netip.MustParseAddr("fd00::1") }, "a and b have addresses of different families"},
		"no command":   {func(o *Options) { o.During = nil }, "nothing to measure: no command"},
		"small":        {func(o *Options) { o.Size = 23 }, "size 23: want 24 to 65507 bytes"},
		"negative":     {func(o *Options) { o.Size = -2 }, "size -2: want 24 to 65507 bytes"},
		"slow":         {func(o *Options) { o.Rate = -1 }, "rate -1: want 1 to 10000 packets per second"},
		"fast":         {func(o *Options) { o.Rate = 10_001 }, "rate 10001: want 1 to 10000 packets per second"},
		"half a node":  {func(o *Options) { o.NodePort = &NodePort{Node: Endpoint{Name: "n"}} }, "node n of the NodePort lacks a namespace"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := validOptions()
			c.change(&o)
			_, err := o.withDefaults()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int{"64": 64, "24": 24, "max": SizeMax} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "23", "65508", "-1", "MAX", "1k"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func TestNewPortTargets(t *testing.T) {
	// Ports times targets at this rate last longer than conntrack remembers.
	for rate, want := range map[int]int{1: 1, 1000: 1, 1025: 2, 3000: 3, 10000: 10} {
		if got := newPortTargets(rate); got != want {
			t.Errorf("rate %d: got %d, want %d", rate, got, want)
		}
		if got := newPortTargets(rate); float64(got*portCount)/float64(rate) < tupleRest.Seconds() {
			t.Errorf("rate %d: a tuple comes again within %s", rate, tupleRest)
		}
	}
}

func TestNodePortRules(t *testing.T) {
	forwards := []forward{
		{"udp", 30001, netip.MustParseAddrPort("10.244.1.2:53")},
		{"tcp", 30002, netip.MustParseAddrPort("10.244.1.2:80")},
	}
	node := netip.MustParseAddr("172.30.0.11")
	got := nodePortRules("t", "services-1", familyOf(node), node, 0x4000, forwards)
	want := "table ip t { flags owner; chain services-1 { " +
		"ip daddr 172.30.0.11 udp dport 30001 meta mark set meta mark or 0x4000 dnat to 10.244.1.2:53; " +
		"ip daddr 172.30.0.11 tcp dport 30002 meta mark set meta mark or 0x4000 dnat to 10.244.1.2:80; }; " +
		"chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services-1; }; " +
		"chain nat-output { type nat hook output priority -100; policy accept; jump services-1; }; " +
		"chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; " +
		"meta mark and 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade fully-random; }; }"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
