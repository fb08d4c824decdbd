package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"sigs.k8s.io/knftables"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// TableName is the name of hopsack's table, of family inet.
const TableName = "hopsack"

// family is what rules of one address family are written with.
type family struct {
	suffix, keyword, multicast string
	has                        func(netip.Addr) bool
}

var families = []family{
	{suffix: "4", keyword: "ip", multicast: "224.0.0.0/4", has: netip.Addr.Is4},
	{suffix: "6", keyword: "ip6", multicast: "ff00::/8", has: netip.Addr.Is6},
}

// Names of sets; those of addresses have a family's suffix.
const (
	setPods   = "pods"   // all ranges that hold pod addresses
	setLocal  = "local"  // the node's own
	setExcept = "except" // destinations that see pods' own addresses
	setPeers  = "peers"  // who may send encapsulated packets
	setPorts  = "ports"  // UDP ports of tunnels
)

// Names of chains.
const (
	chainPrerouting  = "prerouting"
	chainForward     = "forward"
	chainInput       = "input"
	chainPostrouting = "postrouting"
)

// networks are the sets of ranges: few, and written whole.
func networks(fw *desired.Firewall) map[string][]netip.Prefix {
	return map[string][]netip.Prefix{setPods: fw.PodNetworks, setLocal: fw.LocalSubnets, setExcept: fw.Except}
}

// render writes the whole table into a transaction that replaces whatever table of that name there is.
func render(tx *knftables.Transaction, fw *desired.Firewall) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("pod network, kept by hopsack-agent")})
	renderSets(tx, fw)
	for _, c := range []knftables.Chain{
		baseChain(chainPrerouting, knftables.FilterType, knftables.PreroutingHook, knftables.ManglePriority),
		baseChain(chainForward, knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority+"-10"),
		baseChain(chainInput, knftables.FilterType, knftables.InputHook, knftables.FilterPriority+"-10"),
		baseChain(chainPostrouting, knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority+"-10"),
	} {
		tx.Add(&c)
	}
	for _, r := range rules(fw) {
		tx.Add(&r)
	}
}

func baseChain(name string, typ knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority) knftables.Chain {
	return knftables.Chain{Name: name, Type: &typ, Hook: &hook, Priority: &priority}
}

// renderSets declares sets by what they are compared with. Declared by type, a set of nft 1.1.2 or newer crashes older ones
// whatever they were asked for, because they find a kind of expression beside it that they cannot read; and the agent's nft is
// its image's, while kube-proxy and the node have their own.
func renderSets(tx *knftables.Transaction, fw *desired.Firewall) {
	tx.Add(&knftables.Set{Name: setPorts, TypeOf: "udp dport"})
	for _, f := range families {
		for _, name := range slices.Sorted(maps.Keys(networks(fw))) {
			tx.Add(&knftables.Set{
				Name: name + f.suffix, TypeOf: f.keyword + " saddr", Flags: []knftables.SetFlag{knftables.IntervalFlag}, AutoMerge: knftables.PtrTo(true),
			})
		}
		tx.Add(&knftables.Set{Name: setPeers + f.suffix, TypeOf: f.keyword + " saddr"})
	}
	for _, e := range elements(fw) {
		tx.Add(&e)
	}
}

// elements are the elements of all sets, in a fixed order.
func elements(fw *desired.Firewall) []knftables.Element {
	var out []knftables.Element
	sets := networks(fw)
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		out = append(out, networkElements(name, sets[name])...)
	}
	for _, p := range fw.Peers {
		out = append(out, peerElement(p))
	}
	for _, p := range fw.TunnelPorts {
		out = append(out, portElement(p))
	}
	return out
}

func networkElements(set string, prefixes []netip.Prefix) []knftables.Element {
	var out []knftables.Element
	for _, p := range prefixes {
		out = append(out, knftables.Element{Set: set + familyOf(p.Addr()).suffix, Key: []string{p.String()}})
	}
	return out
}

func peerElement(a netip.Addr) knftables.Element {
	return knftables.Element{Set: setPeers + familyOf(a).suffix, Key: []string{a.String()}}
}

func portElement(port uint16) knftables.Element {
	return knftables.Element{Set: setPorts, Key: []string{strconv.Itoa(int(port))}}
}

func familyOf(a netip.Addr) family {
	for _, f := range families {
		if f.has(a) {
			return f
		}
	}
	return families[0]
}

// rules are all rules in order. They depend on what is not in sets only.
func rules(fw *desired.Firewall) []knftables.Rule {
	var out []knftables.Rule
	add := func(chain, comment, format string, args ...any) {
		out = append(out, knftables.Rule{Chain: chain, Rule: fmt.Sprintf(format, args...), Comment: &comment})
	}
	for _, chain := range []string{chainPrerouting, chainForward} {
		add(chain, "pods may not send encapsulated packets", "iifname %q udp dport @%s ct direction original counter drop", fw.Bridge, setPorts)
	}
	for _, f := range families {
		add(chainInput, "tunnels are closed to strangers", "udp dport @%s %s saddr != @%s%s counter drop", setPorts, f.keyword, setPeers, f.suffix)
	}
	for _, f := range families {
		if a, ok := nodeAddr(fw, f); ok && fw.NodePortMark != 0 {
			add(chainPostrouting, "NodePort traffic to pods comes from the node's stable address",
				"meta mark & %#[1]x == %#[1]x %[2]s daddr @%[3]s%[4]s meta mark set meta mark & %#[5]x snat %[2]s to %[6]s fully-random",
				fw.NodePortMark, f.keyword, setPods, f.suffix, ^fw.NodePortMark, a)
		}
	}
	if !fw.Masquerade {
		return out
	}
	masquerade := "masquerade"
	if fw.RandomFully {
		masquerade += " fully-random"
	}
	for _, f := range families {
		from := fmt.Sprintf("%s saddr @%s%s", f.keyword, setLocal, f.suffix)
		add(chainPostrouting, "pod to pod", "%s %s daddr @%s%s return", from, f.keyword, setPods, f.suffix)
		add(chainPostrouting, "pod to exempt network", "%s %s daddr @%s%s return", from, f.keyword, setExcept, f.suffix)
		add(chainPostrouting, "pod to multicast", "%s %s daddr %s return", from, f.keyword, f.multicast)
		add(chainPostrouting, "pod to outside", "%s oifname != %q %s", from, fw.Bridge, masquerade)
	}
	return out
}

func nodeAddr(fw *desired.Firewall, f family) (netip.Addr, bool) {
	i := slices.IndexFunc(fw.NodeAddrs, f.has)
	if i < 0 {
		return netip.Addr{}, false
	}
	return fw.NodeAddrs[i], true
}

// sameRules says whether two filters differ in sets only.
func sameRules(a, b *desired.Firewall) bool {
	return a.Bridge == b.Bridge && a.Masquerade == b.Masquerade && a.RandomFully == b.RandomFully && a.NodePortMark == b.NodePortMark &&
		slices.Equal(a.NodeAddrs, b.NodeAddrs)
}

// sameNetworks says whether the sets of ranges are equal.
func sameNetworks(a, b *desired.Firewall) bool {
	return slices.Equal(a.PodNetworks, b.PodNetworks) && slices.Equal(a.LocalSubnets, b.LocalSubnets) && slices.Equal(a.Except, b.Except)
}

// updateNetworks writes the sets of ranges that differ into a transaction, and counts them. Ranges that overlap are merged by
// the kernel, so a set is written whole.
func updateNetworks(tx *knftables.Transaction, have, want *desired.Firewall) int {
	changes := 0
	was, is := networks(have), networks(want)
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if slices.Equal(was[name], is[name]) {
			continue
		}
		changes++
		for _, f := range families {
			tx.Flush(&knftables.Set{Name: name + f.suffix})
		}
		for _, e := range networkElements(name, is[name]) {
			tx.Add(&e)
		}
	}
	return changes
}

// elementChanges are the differences between the sets of peers and ports, and how many keys they have.
func elementChanges(have, want *desired.Firewall) (changes []elementChange, keys int) {
	for _, f := range families {
		if slices.Equal(have.Peers, want.Peers) {
			break // by far the usual case, and cheap to find out
		}
		peers := func(all []netip.Addr) []netip.Addr {
			return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !f.has(a) })
		}
		changes = append(changes, setChanges(setPeers+f.suffix, peers(have.Peers), peers(want.Peers), netip.Addr.Compare, netip.Addr.AsSlice)...)
	}
	changes = append(changes, setChanges(setPorts, have.TunnelPorts, want.TunnelPorts, cmp.Compare[uint16], func(port uint16) []byte {
		return binary.BigEndian.AppendUint16(nil, port)
	})...)
	for _, c := range changes {
		keys += len(c.keys)
	}
	return changes, keys
}

// setChanges compares two sorted lists. What comes in is added before what goes is deleted.
func setChanges[T comparable](set string, have, want []T, order func(a, b T) int, key func(T) []byte) []elementChange {
	if slices.Equal(have, want) {
		return nil
	}
	missing := func(from, in []T) (keys [][]byte) {
		for _, v := range from {
			if _, found := slices.BinarySearchFunc(in, v, order); !found {
				keys = append(keys, key(v))
			}
		}
		return keys
	}
	out := []elementChange{{set: set, keys: missing(want, have)}, {set: set, keys: missing(have, want), delete: true}}
	return slices.DeleteFunc(out, func(c elementChange) bool { return len(c.keys) == 0 })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
