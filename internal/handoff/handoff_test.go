package handoff

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var cmpAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
var cmpPrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func subnet(cidr string, draining bool) Subnet {
	p := netip.MustParsePrefix(cidr)
	return Subnet{Subnet: p, Gateway: GatewayAddress(p), Draining: draining}
}

func sample() File {
	return File{Version: 1, Bridge: "cni0", MTU: 1500, RouteMTU: 1450, HairpinMode: true, Subnets: []Subnet{
		subnet("10.244.1.0/24", false), subnet("10.245.7.0/26", true), subnet("fd00:10:244:1::/64", false),
	}}
}

const sampleJSON = `{
  "version": 1,
  "bridge": "cni0",
  "mtu": 1500,
  "routeMTU": 1450,
  "hairpinMode": true,
  "subnets": [
    {
      "subnet": "10.244.1.0/24",
      "gateway": "10.244.1.1",
      "draining": false
    },
    {
      "subnet": "10.245.7.0/26",
      "gateway": "10.245.7.1",
      "draining": true
    },
    {
      "subnet": "fd00:10:244:1::/64",
      "gateway": "fd00:10:244:1::1",
      "draining": false
    }
  ]
}
`

func TestMarshalIsDeterministicAndParsesBack(t *testing.T) {
	got, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleJSON, string(got)); diff != "" {
		t.Errorf("Marshal (-want +got):\n%s", diff)
	}
	back, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), back, cmpAddrs, cmpPrefixes); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if !back.Equal(sample()) {
		t.Error("Equal: got false, want true")
	}
}

func TestParseDefaults(t *testing.T) {
	got, err := Parse([]byte(`{"version":1,"bridge":"br-pods","mtu":9000,"subnets":[{"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := File{Version: 1, Bridge: "br-pods", MTU: 9000, Subnets: []Subnet{subnet("10.1.0.0/24", false)}}
	if diff := cmp.Diff(want, got, cmpAddrs, cmpPrefixes); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	// Each case replaces one piece of the sample.
	for name, tc := range map[string]struct{ old, new, want string }{
		"empty file":           {sampleJSON, "", "empty"},
		"cut short":            {sampleJSON, sampleJSON[:80], "decode JSON: unexpected EOF"},
		"not an object":        {sampleJSON, "[]", "decode JSON"},
		"second value":         {sampleJSON, sampleJSON + "{}", "more than one JSON value"},
		"null":                 {sampleJSON, "null", "version: missing"},
		"version missing":      {`"version": 1,`, "", "version: missing"},
		"version newer":        {`"version": 1,`, `"version": 2, "fancy": {},`, "version: got 2, want 1 (agent and CNI plugin come from different releases)"},
		"version text":         {`"version": 1`, `"version": "1"`, "version: got a JSON string, want int"},
		"unknown key":          {`"mtu": 1500`, `"mtu": 1500, "txqueuelen": 5`, `unknown field "txqueuelen"`},
		"unknown subnet key":   {`"draining": true`, `"drain": true`, `unknown field "drain"`},
		"bridge missing":       {`"bridge": "cni0",`, "", "bridge: missing"},
		"bridge empty":         {`"cni0"`, `""`, "bridge: empty"},
		"bridge too long":      {`"cni0"`, `"averylongbridge0"`, `bridge: "averylongbridge0" is longer than 15 characters`},
		"bridge with slash":    {`"cni0"`, `"cni/0"`, `bridge: "cni/0" is no valid name`},
		"bridge with blank":    {`"cni0"`, `"cni 0"`, `bridge: "cni 0" is no valid name`},
		"bridge dots":          {`"cni0"`, `".."`, `bridge: ".." is no valid name`},
		"mtu missing":          {`"mtu": 1500,`, "", "mtu: missing"},
		"mtu zero":             {`"mtu": 1500`, `"mtu": 0`, "mtu: got 0, want 68 to 65535"},
		"mtu fraction":         {`"mtu": 1500`, `"mtu": 1.5`, "mtu: got a JSON number 1.5, want int"},
		"routeMTU above mtu":   {`"routeMTU": 1450`, `"routeMTU": 1501`, "routeMTU: got 1501, want 0 or 68 to 1500 (mtu)"},
		"routeMTU negative":    {`"routeMTU": 1450`, `"routeMTU": -1`, "routeMTU: got -1"},
		"hairpin text":         {`"hairpinMode": true`, `"hairpinMode": "true"`, "hairpinMode: got a JSON string, want bool"},
		"subnets missing":      {sampleJSON, `{"version":1,"bridge":"cni0","mtu":1500}`, "subnets: missing"},
		"subnet no CIDR":       {`"10.245.7.0/26"`, `"10.245.7.0"`, `subnets[1].subnet: "10.245.7.0" is no CIDR`},
		"subnet absent":        {`"subnet": "10.245.7.0/26",`, ``, `subnets[1].subnet: "" is no CIDR`},
		"subnet host bits":     {`"10.245.7.0/26"`, `"10.245.7.1/26"`, "subnets[1].subnet: 10.245.7.1/26 has host bits set, want 10.245.7.0/26"},
		"subnet too small":     {`"10.245.7.0/26"`, `"10.245.7.0/31"`, "subnets[1].subnet: 10.245.7.0/31 is too small to hold a gateway and a pod"},
		"subnet mapped":        {`"10.245.7.0/26"`, `"::ffff:10.245.7.0/122"`, "subnets[1].subnet: ::ffff:10.245.7.0/122 is an IPv4 prefix in IPv6 form"},
		"subnets overlap":      {`"10.245.7.0/26"`, `"10.244.0.0/16"`, "subnets[1]."},
		"gateway no address":   {`"10.245.7.1"`, `"10.245.7"`, `subnets[1].gateway: "10.245.7" is no address`},
		"gateway outside":      {`"10.245.7.1"`, `"10.244.1.1"`, "subnets[1].gateway: got 10.244.1.1, want 10.245.7.1, the first usable address of 10.245.7.0/26"},
		"gateway with zone":    {`"fd00:10:244:1::1"`, `"fd00:10:244:1::1%eth0"`, "subnets[2].gateway: got fd00:10:244:1::1%eth0"},
		"draining as a number": {`"draining": true`, `"draining": 1`, "subnets.draining: got a JSON number, want bool"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(sampleJSON, tc.old) {
				t.Fatalf("sample has no %q", tc.old)
			}
			_, err := Parse([]byte(strings.Replace(sampleJSON, tc.old, tc.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestOverlapNamesBoth(t *testing.T) {
	f := sample()
	f.Subnets = append(f.Subnets, subnet("10.244.0.0/16", false))
	_, err := Marshal(f)
	want := "subnets[3].subnet: 10.244.0.0/16 overlaps 10.244.1.0/24 of subnets[0]"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestMarshalRefusesZeroValues(t *testing.T) {
	if _, err := Marshal(File{}); err == nil {
		t.Error("zero File: got no error")
	}
	f := sample()
	f.Subnets[0] = Subnet{}
	if _, err := Marshal(f); err == nil || err.Error() != "subnets[0].subnet: missing" {
		t.Errorf("zero Subnet: got %v", err)
	}
	f.Subnets[0] = Subnet{Subnet: netip.MustParsePrefix("10.0.0.0/24")}
	if _, err := Marshal(f); err == nil || err.Error() != "subnets[0].gateway: missing" {
		t.Errorf("zero gateway: got %v", err)
	}
}

func TestUsable(t *testing.T) {
	want := []Subnet{subnet("10.244.1.0/24", false), subnet("fd00:10:244:1::/64", false)}
	if diff := cmp.Diff(want, sample().Usable(), cmpAddrs, cmpPrefixes); diff != "" {
		t.Errorf("Usable (-want +got):\n%s", diff)
	}
	if got := (File{Subnets: []Subnet{subnet("10.244.1.0/24", true)}}).Usable(); got != nil {
		t.Errorf("all draining: got %v, want none", got)
	}
}

func TestAddressesOfASubnet(t *testing.T) {
	for _, tc := range []struct {
		subnet, reserved, first, last string // reserved empty: none
	}{
		{"10.244.1.0/24", "10.244.1.2", "10.244.1.3", "10.244.1.254"},
		{"10.0.0.0/8", "10.0.0.2", "10.0.0.3", "10.255.255.254"},
		{"10.244.1.64/26", "10.244.1.66", "10.244.1.67", "10.244.1.126"},
		{"10.244.1.16/28", "10.244.1.18", "10.244.1.19", "10.244.1.30"},
		{"10.244.1.8/29", "10.244.1.10", "10.244.1.11", "10.244.1.14"},
		{"10.244.1.4/30", "", "10.244.1.6", "10.244.1.6"},
		{"255.255.255.0/24", "255.255.255.2", "255.255.255.3", "255.255.255.254"},
		{"fd00::/64", "fd00::2", "fd00::3", "fd00::ffff:ffff:ffff:ffff"},
		{"fd00::8/125", "fd00::a", "fd00::b", "fd00::f"},
		{"fd00::4/126", "", "fd00::6", "fd00::7"},
	} {
		t.Run(tc.subnet, func(t *testing.T) {
			p := netip.MustParsePrefix(tc.subnet)
			reserved, ok := ReservedAddress(p)
			if ok != (tc.reserved != "") || ok && reserved.String() != tc.reserved {
				t.Errorf("ReservedAddress: got %v %v, want %q", reserved, ok, tc.reserved)
			}
			if first, last := PodRange(p); first.String() != tc.first || last.String() != tc.last {
				t.Errorf("PodRange: got %v %v, want %s %s", first, last, tc.first, tc.last)
			}
		})
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/32"), netip.MustParsePrefix("255.255.255.255/32")} {
		if addr, ok := ReservedAddress(p); ok {
			t.Errorf("ReservedAddress(%v): got %v, want none", p, addr)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sampleJSON))
	f.Add([]byte(`{"version":1,"bridge":"b","mtu":68,"subnets":[]}`))
	f.Add([]byte(`{"version":1,"bridge":"b","mtu":1500,"subnets":[{"subnet":"fd00::/126","gateway":"fd00::1"}]}`))
	f.Add([]byte(`{"version":2,"bridge":["x"]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if !file.Equal(File{}) {
				t.Fatalf("error %v with a file %+v", err, file)
			}
			return
		}
		b, err := Marshal(file)
		if err != nil {
			t.Fatalf("Parse accepts what Marshal refuses: %v", err)
		}
		back, err := Parse(b)
		if err != nil || !back.Equal(file) {
			t.Fatalf("round trip: got %+v, %v, want %+v", back, err, file)
		}
		for _, s := range file.Subnets {
			first, last := PodRange(s.Subnet)
			if !s.Subnet.Contains(first) || !s.Subnet.Contains(last) || first.Compare(last) > 0 || s.Gateway.Compare(first) >= 0 {
				t.Fatalf("%v: pod range %v to %v", s, first, last)
			}
		}
	})
}
