package nodeagent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

func addrs(in ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestSelectUnderlay(t *testing.T) {
	host := hostInterfaces{
		All: []hostInterface{
			{Name: "eth0", Addrs: addrs("10.0.2.15"), MTU: 1500}, // Vagrant's NAT
			{Name: "eth1", Addrs: addrs("192.168.5.4", "192.168.5.5", "fd00::5"), MTU: 9000},
			{Name: "eth2", MTU: 1500}, // no address
		},
		DefaultRoute: "eth0", CanReach: "eth1", CanReachFrom: netip.MustParseAddr("192.168.5.5"),
	}
	for name, tc := range map[string]struct {
		rules    v1alpha1.InterfaceSelection
		internal []netip.Addr
		want     string
		addrs    []netip.Addr
		err      string
	}{
		"default: the Node's address": {internal: addrs("192.168.5.5"), want: "eth1", addrs: addrs("192.168.5.5", "fd00::5")},
		"default: default route":      {internal: addrs("203.0.113.9"), want: "eth0", addrs: addrs("10.0.2.15")},
		"name":                        {rules: v1alpha1.InterfaceSelection{Names: []string{"ens1", "eth1"}}, want: "eth1", addrs: addrs("192.168.5.4", "fd00::5")},
		"name, the Node's address":    {rules: v1alpha1.InterfaceSelection{Names: []string{"eth1"}}, internal: addrs("192.168.5.5"), want: "eth1", addrs: addrs("192.168.5.5", "fd00::5")},
		"regex matches the whole name": {rules: v1alpha1.InterfaceSelection{Regexes: []string{"th1", "eth[1-9]"}}, want: "eth1",
			addrs: addrs("192.168.5.4", "fd00::5")},
		"can reach":                 {rules: v1alpha1.InterfaceSelection{CanReach: "192.168.5.1"}, want: "eth1", addrs: addrs("192.168.5.5", "fd00::5")},
		"cidr takes the one inside": {rules: v1alpha1.InterfaceSelection{CIDRs: []string{"172.16.0.0/12", "192.168.5.5/32"}}, want: "eth1", addrs: addrs("192.168.5.5", "fd00::5")},
		"names come before cidrs":   {rules: v1alpha1.InterfaceSelection{Names: []string{"eth0"}, CIDRs: []string{"192.168.5.0/24"}}, want: "eth0", addrs: addrs("10.0.2.15")},
		"without address":           {rules: v1alpha1.InterfaceSelection{Names: []string{"eth2"}}, err: "matches name eth2; there are eth0 [10.0.2.15]"},
		"rules, and none matches":   {rules: v1alpha1.InterfaceSelection{Regexes: []string{"wlan.*"}, CIDRs: []string{"10.9.0.0/16"}}, internal: addrs("192.168.5.5"), err: "regex ^(?:wlan.*)$, cidr 10.9.0.0/16"},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := network.InterfaceSelectionFromAPI(tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			got, err := selectUnderlay(rules, tc.internal, host)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error = %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != tc.want {
				t.Errorf("chose %s, want %s", got.Name, tc.want)
			}
			if diff := cmp.Diff(tc.addrs, got.Addrs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}
