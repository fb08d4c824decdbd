package network

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func mustRange(t *testing.T, network string, subnetLen int, first, last string) Range {
	t.Helper()
	r, err := newRange(netip.MustParsePrefix(network), subnetLen, first, last)
	if err != nil {
		t.Fatalf("newRange(%s): %v", network, err)
	}
	return r
}

func TestRangeDefaults(t *testing.T) {
	for name, tc := range map[string]struct {
		network     string
		subnetLen   int
		wantLen     int
		first, last string
		size        uint64
	}{
		"/16":             {"10.244.0.0/16", 0, 24, "10.244.1.0", "10.244.255.0", 255},
		"/22":             {"10.244.0.0/22", 0, 24, "10.244.1.0", "10.244.3.0", 3},
		"/23":             {"10.244.0.0/23", 0, 25, "10.244.0.128", "10.244.1.128", 3},
		"/26":             {"10.244.0.0/26", 0, 28, "10.244.0.16", "10.244.0.48", 3},
		"two subnets":     {"10.244.0.0/27", 28, 28, "10.244.0.16", "10.244.0.16", 1},
		"widest":          {"10.0.0.0/8", 28, 28, "10.0.0.16", "10.255.255.240", 1<<20 - 1},
		"top of IPv4":     {"255.0.0.0/8", 9, 9, "255.128.0.0", "255.128.0.0", 1},
		"IPv6":            {"fd00:10::/48", 0, 64, "fd00:10:0:1::", "fd00:10:0:ffff::", 65535},
		"IPv6, wide":      {"fd00::/16", 120, 120, "fd00::100", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ff00", math.MaxUint64},
		"IPv6, across 64": {"fd00::/60", 68, 68, "fd00::1000:0:0:0", "fd00:0:0:f:f000::", 255},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustRange(t, tc.network, tc.subnetLen, "", "")
			if r.SubnetLen != tc.wantLen || r.First.String() != tc.first || r.Last.String() != tc.last || r.Size() != tc.size {
				t.Errorf("got /%d %s..%s (%d), want /%d %s..%s (%d)", r.SubnetLen, r.First, r.Last, r.Size(), tc.wantLen, tc.first, tc.last, tc.size)
			}
			if got := r.At(0); got.Addr() != r.First || !r.Holds(got) {
				t.Errorf("At(0) is %s, want %s", got, r.First)
			}
			if r.Size() == math.MaxUint64 {
				return
			}
			if got := r.At(r.Size() - 1); got.Addr() != r.Last || !r.Holds(got) {
				t.Errorf("last subnet is %s, want %s", got, r.Last)
			}
		})
	}
}

// TestSpan compares with walking through all subnets.
func TestSpan(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	r := mustRange(t, "10.244.0.0/20", 26, "10.244.1.64", "10.244.13.128")
	for range 20000 {
		bits := 17 + rng.IntN(15)
		addr := netip.AddrFrom4([4]byte{10, 244, byte(rng.IntN(20)), byte(rng.IntN(256))})
		p := netip.PrefixFrom(addr, bits).Masked()
		var from, to uint64
		found := false
		for i := range r.Size() {
			if r.At(i).Overlaps(p) {
				if !found {
					from = i
				}
				to, found = i, true
			}
		}
		gotFrom, gotTo, ok := r.Span(p)
		if ok != found || ok && (gotFrom != from || gotTo != to) {
			t.Fatalf("Span(%s): got %d..%d %v, want %d..%d %v", p, gotFrom, gotTo, ok, from, to, found)
		}
	}
	if _, _, ok := r.Span(netip.MustParsePrefix("fd00::/8")); ok {
		t.Error("an IPv6 prefix overlaps an IPv4 range")
	}
}

func TestHoldsAndInside(t *testing.T) {
	r := mustRange(t, "10.244.0.0/16", 24, "10.244.2.0", "10.244.9.0")
	for prefix, want := range map[string][2]bool{
		"10.244.2.0/24":   {true, true},
		"10.244.9.0/24":   {true, true},
		"10.244.1.0/24":   {false, true},
		"10.244.10.0/24":  {false, true},
		"10.244.4.0/25":   {false, true},
		"10.244.0.0/16":   {false, true},
		"10.0.0.0/8":      {false, false},
		"10.245.4.0/24":   {false, false},
		"fd00::/24":       {false, false},
		"::ffff:0:0/120":  {false, false},
		"255.255.0.0/24":  {false, false},
		"10.244.255.0/24": {false, true},
	} {
		p := netip.MustParsePrefix(prefix)
		if got := [2]bool{r.Holds(p), r.Inside(p)}; got != want {
			t.Errorf("%s: held, inside = %v, want %v", p, got, want)
		}
	}
}

func TestLeaseNames(t *testing.T) {
	for prefix, name := range map[string]string{
		"10.244.3.0/24": "10.244.3.0-24", "10.244.0.16/28": "10.244.0.16-28",
		"fd00:10:0:5::/64": "fd00-10-0-5---64", "fd00::1:0/112": "fd00--1-0-112",
	} {
		p := netip.MustParsePrefix(prefix)
		if got := LeaseName(p); got != name {
			t.Errorf("LeaseName(%s) = %s, want %s", p, got, name)
		}
		if got, err := ParseLeaseName(name); err != nil || got != p {
			t.Errorf("ParseLeaseName(%s) = %s, %v, want %s", name, got, err, p)
		}
	}
	for _, name := range []string{"", "n1", "10.244.3.0", "10.244.3.1-24", "10.244.3.0-33", "10.244.03.0-24", "10.244.3.0-024", "-24", "10-244-3-0-24"} {
		if got, err := ParseLeaseName(name); err == nil {
			t.Errorf("ParseLeaseName(%q) = %s, want an error", name, got)
		}
	}
}
