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
}

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
	tab := &table{remotes: make(map[netip.Addr]*remote, len(t.Peers))}
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
		}
		tab.add(p.Subnet.Masked(), r)
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
