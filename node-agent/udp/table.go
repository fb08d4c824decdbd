package udp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// table says where packets go and where they may come from. It never changes once it is in use: another one takes its place.
type table struct {
	// remotes are all nodes, by underlay address.
	remotes map[netip.Addr]*remote
	// v4 and v6 are the subnets by length, the longest first. A cluster has one or two lengths of each, so that this is one or
	// two look-ups in a map whatever the number of peers.
	v4, v6 []subnets
	// hosts are nodes' own addresses.
	hosts map[netip.Addr]*remote
	// own are this node's subnets, networks hold all pods there are.
	own, networks []netip.Prefix
}

// Whose addresses are those of no peer.
var (
	// nobody sends from these: pods of no node and of this one, this node, addresses that nothing is forwarded from.
	nobody = &remote{}
	// outsider is whoever is neither node nor pod: a peer may have a route for it, or be its router.
	outsider = &remote{}
)

// subnets are those of one prefix length.
type subnets struct {
	bits int
	to   map[netip.Addr]*remote
}

// remote is a node.
type remote struct {
	addr netip.Addr
	// id spreads remotes over small tables.
	id int
	// sockaddr is where packets for it go, as the kernel takes it.
	sockaddr rawSockaddr
}

// newTable makes the table of a tunnel. Peers that the tunnel cannot reach, of the other address family, are left out and named
// in the error; the table is good for the others.
func newTable(t desired.UDPTunnel) (*table, error) {
	tab := &table{
		remotes: make(map[netip.Addr]*remote, len(t.Peers)), hosts: make(map[netip.Addr]*remote, len(t.Peers)+len(t.Hosts)),
		own: t.Subnets, networks: slices.Concat(t.Networks, t.Subnets),
	}
	var refused error
	for _, p := range t.Peers {
		to := p.Remote.Unmap()
		if !p.Subnet.IsValid() || !to.IsValid() || to.Is4() != t.Local.Unmap().Is4() {
			if refused == nil {
				refused = fmt.Errorf("peer %s at %s cannot be reached from %s", p.Subnet, p.Remote, t.Local)
			}
			continue
		}
		r := tab.remotes[to]
		if r == nil {
			r = &remote{addr: to, id: len(tab.remotes), sockaddr: newRawSockaddr(netip.AddrPortFrom(to, t.Port))}
			tab.remotes[to] = r
			tab.hosts[to] = r
		}
		if p.Other.IsValid() {
			tab.hosts[p.Other.Unmap()] = r
		}
		tab.add(p.Subnet.Masked(), r)
	}
	for _, a := range t.Hosts {
		tab.hosts[a.Unmap()] = nobody
	}
	longest := func(a, b subnets) int { return b.bits - a.bits }
	slices.SortFunc(tab.v4, longest)
	slices.SortFunc(tab.v6, longest)
	return tab, refused
}

func (t *table) add(subnet netip.Prefix, r *remote) {
	family := &t.v4
	if subnet.Addr().Is6() {
		family = &t.v6
	}
	for _, s := range *family {
		if s.bits == subnet.Bits() {
			s.to[subnet.Addr()] = r
			return
		}
	}
	*family = append(*family, subnets{subnet.Bits(), map[netip.Addr]*remote{subnet.Addr(): r}})
}

// lookup returns the node whose subnet holds the address, by longest prefix, or nil.
func (t *table) lookup(a netip.Addr) *remote {
	family := t.v4
	if a.Is6() {
		family = t.v6
	}
	for _, s := range family {
		p, err := a.Prefix(s.bits)
		if err != nil {
			return nil
		}
		if r := s.to[p.Addr()]; r != nil {
			return r
		}
	}
	return nil
}

// owner is the node whose packets may have that source, nobody or outsider.
func (t *table) owner(source netip.Addr) *remote {
	if r := t.lookup(source); r != nil {
		return r
	}
	if r := t.hosts[source]; r != nil {
		return r
	}
	if within(t.networks, source) || !travels(source) {
		return nobody
	}
	return outsider
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// travels says that packets from that address can reach a router: it is unicast and means the same in more than one place.
func travels(a netip.Addr) bool {
	if a.Is4() {
		if first := a.As4()[0]; first == 0 || first >= 240 {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.Is4In6()
}
