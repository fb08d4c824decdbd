package nft

import (
	"context"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

var updateGolden = flag.Bool("update", false, "write golden files")

func prefixes(in ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(in ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// testFirewall is that of a node with two peers.
func testFirewall() *desired.Firewall {
	return &desired.Firewall{
		Bridge: "cni0", PodNetworks: prefixes("10.244.0.0/16"), LocalSubnets: prefixes("10.244.1.0/24"),
		Masquerade: true, Except: prefixes("192.0.2.128/25"), NodePortMark: 0x4000,
		NodeAddrs: addrs("10.244.1.1"), TunnelPorts: []uint16{8472}, Peers: addrs("192.0.2.2", "192.0.2.3"),
	}
}

// run runs what fill puts into a transaction.
func run(t *testing.T, nft knftables.Interface, fill func(*knftables.Transaction)) {
	t.Helper()
	tx := nft.NewTransaction()
	fill(tx)
	if err := nft.Run(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
}

// The whole table, written twice.
func TestRender(t *testing.T) {
	for name, change := range map[string]func(fw *desired.Firewall){
		"usual": func(*desired.Firewall) {},
		"renumbering": func(fw *desired.Firewall) {
			fw.PodNetworks = prefixes("10.244.0.0/16", "10.245.0.0/16")
			fw.LocalSubnets = prefixes("10.244.1.0/24", "10.245.7.0/24")
			fw.NodeAddrs = addrs("10.245.7.1")
		},
		"no-masquerade": func(fw *desired.Firewall) { fw.Masquerade = false },
		"no-tunnel":     func(fw *desired.Firewall) { fw.TunnelPorts, fw.Peers, fw.Except = nil, nil, nil },
		"random-fully-other-mark-and-bridge": func(fw *desired.Firewall) {
			fw.RandomFully, fw.NodePortMark, fw.Bridge = true, 1, "br-pods"
		},
		"dual-stack": func(fw *desired.Firewall) {
			fw.PodNetworks = append(fw.PodNetworks, prefixes("fd00::/48")...)
			fw.LocalSubnets = append(fw.LocalSubnets, prefixes("fd00:0:0:1::/64")...)
			fw.NodeAddrs = append(fw.NodeAddrs, addrs("fd00:0:0:1::1")...)
			fw.Peers = append(fw.Peers, addrs("2001:db8::2")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fw := testFirewall()
			change(fw)
			fake := knftables.NewFake(knftables.InetFamily, TableName)
			for range 2 {
				run(t, fake, func(tx *knftables.Transaction) { render(tx, fw) })
			}
			got, path := fake.Dump(), filepath.Join("testdata", name+".golden")
			if *updateGolden {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// sorted are the lines of a dump in an order that does not tell when they were added.
func sorted(dump string) []string { return slices.Sorted(strings.SplitSeq(dump, "\n")) }

// Whatever changed, the sets of ranges brought up to date are those of a table written anew.
func TestUpdateNetworksEqualsRender(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	have := randomFirewall(rng)
	fake := knftables.NewFake(knftables.InetFamily, TableName)
	run(t, fake, func(tx *knftables.Transaction) { render(tx, have) })
	for range 200 {
		want := randomFirewall(rng)
		want.Peers, want.TunnelPorts = have.Peers, have.TunnelPorts
		changes := 0
		run(t, fake, func(tx *knftables.Transaction) { changes = updateNetworks(tx, have, want) })
		if same := sameNetworks(have, want); same != (changes == 0) {
			t.Errorf("got %d changes for equal=%t", changes, same)
		}
		anew := knftables.NewFake(knftables.InetFamily, TableName)
		run(t, anew, func(tx *knftables.Transaction) { render(tx, want) })
		if diff := cmp.Diff(sorted(anew.Dump()), sorted(fake.Dump())); diff != "" {
			t.Fatalf("table (-anew +updated):\n%s", diff)
		}
		have = want
	}
}

// randomFirewall has some of a few networks, peers and ports.
func randomFirewall(rng *rand.Rand) *desired.Firewall {
	pick := func(from []netip.Prefix) []netip.Prefix {
		return slices.DeleteFunc(slices.Clone(from), func(netip.Prefix) bool { return rng.IntN(2) == 0 })
	}
	fw := testFirewall()
	fw.PodNetworks = pick(prefixes("10.244.0.0/16", "10.245.0.0/16", "fd00::/48"))
	fw.LocalSubnets = pick(prefixes("10.244.1.0/24", "10.245.1.0/24", "fd00:0:0:1::/64"))
	fw.Except = pick(prefixes("192.0.2.0/24", "198.51.100.0/24"))
	fw.Peers, fw.TunnelPorts = nil, nil
	for i := range 9 {
		if rng.IntN(2) == 0 {
			fw.Peers = append(fw.Peers, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
		}
		if rng.IntN(2) == 0 {
			fw.TunnelPorts = append(fw.TunnelPorts, uint16(8472+i))
		}
	}
	if rng.IntN(2) == 0 {
		fw.Peers = append(fw.Peers, netip.MustParseAddr("2001:db8::2"))
	}
	return fw
}
