package dataplane

import (
	"bytes"
	"cmp"
	"net/netip"
	"strings"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// neighWork is what a pass knows of one table of entries on devices.
type neighWork struct {
	// unread are the devices whose entries could not be read: nothing is changed there.
	unread map[string]bool
	// spare are the entries that go once no route needs them.
	spare []Neigh
}

// eachTunnel reads a table of every usable vxlan device.
func (p *pass) eachTunnel(kind string, w *neighWork, read func(index int) ([]Neigh, error), see func(device string, n Neigh)) {
	w.unread = map[string]bool{}
	for name, l := range p.want.Links {
		if l.Kind != desired.KindVXLAN {
			continue
		}
		index, ok := p.usable(name)
		if !ok {
			w.unread[name] = true
			continue
		}
		found, err := retried(kind+" entries of "+name, func() ([]Neigh, error) { return read(index) })
		if err != nil {
			w.unread[name] = true
			p.failRead(kind, err)
			continue
		}
		for _, n := range found {
			see(name, n)
		}
	}
}

// setFDB says where VTEPs are. The kernel keeps one place per unicast address, so setting it replaces the old one.
func (p *pass) setFDB() {
	actual := make(map[desired.FDBKey]netip.Addr, len(p.want.FDB))
	p.eachTunnel(KindFDB, &p.fdb, p.kernel.FDB, func(device string, n Neigh) {
		key := desired.FDBKey{Device: device, MAC: n.MAC}
		switch _, wanted := p.want.FDB[key]; {
		case !wanted:
			p.fdb.spare = append(p.fdb.spare, n)
		case n.Odd:
			actual[key] = netip.Addr{}
		default:
			actual[key] = n.IP
		}
	})
	p.heldVTEPs = map[desired.FDBKey]bool{}
	for _, e := range Diff(p.want.FDB, actual, compareFDB).Set {
		if p.ctx.Err() != nil {
			return
		}
		if p.fdb.unread[e.Key.Device] {
			p.heldVTEPs[e.Key] = true
			p.held++
			continue
		}
		index, _ := p.usable(e.Key.Device)
		err := p.kernel.SetNeigh(Neigh{Index: index, FDB: true, MAC: e.Key.MAC, IP: e.Value})
		if !p.did(KindFDB, wrap(err, "set fdb %s dst %s on %s", e.Key.MAC, e.Value, e.Key.Device)) {
			p.heldVTEPs[e.Key] = true
		}
	}
}

// setNeighs says which VTEP has a peer's tunnel address.
func (p *pass) setNeighs() {
	actual := make(map[desired.NeighKey]network.MAC, len(p.want.Neighs))
	p.eachTunnel(KindNeigh, &p.neighs, p.kernel.Neighs, func(device string, n Neigh) {
		key := desired.NeighKey{Device: device, IP: n.IP}
		switch _, wanted := p.want.Neighs[key]; {
		case !wanted:
			p.neighs.spare = append(p.neighs.spare, n)
		case n.Odd:
			actual[key] = network.MAC{}
		default:
			actual[key] = n.MAC
		}
	})
	p.heldPeers = map[desired.NeighKey]bool{}
	for _, e := range Diff(p.want.Neighs, actual, compareNeighs).Set {
		if p.ctx.Err() != nil {
			return
		}
		if p.neighs.unread[e.Key.Device] || p.heldVTEPs[desired.FDBKey{Device: e.Key.Device, MAC: e.Value}] {
			p.heldPeers[e.Key] = true
			p.held++
			continue
		}
		index, _ := p.usable(e.Key.Device)
		err := p.kernel.SetNeigh(Neigh{Index: index, MAC: e.Value, IP: e.Key.IP})
		if !p.did(KindNeigh, wrap(err, "set neigh %s lladdr %s on %s", e.Key.IP, e.Value, e.Key.Device)) {
			p.heldPeers[e.Key] = true
		}
	}
}

func (p *pass) dropNeighs() { p.dropEntries(KindNeigh, p.neighs.spare) }
func (p *pass) dropFDB()    { p.dropEntries(KindFDB, p.fdb.spare) }

// dropEntries deletes entries that are not wanted, once the routes that may lead to them are right.
func (p *pass) dropEntries(kind string, spare []Neigh) {
	for _, n := range spare {
		if p.ctx.Err() != nil {
			return
		}
		if !p.ok(KindRoute) || p.routes.held {
			p.held++
			continue
		}
		p.did(kind, wrap(p.kernel.DeleteNeigh(n), "delete %s %s %s on %s", kind, n.MAC, n.IP, p.names[n.Index]))
	}
}

func compareFDB(a, b desired.FDBKey) int {
	return cmp.Or(strings.Compare(a.Device, b.Device), bytes.Compare(a.MAC[:], b.MAC[:]))
}

func compareNeighs(a, b desired.NeighKey) int {
	return cmp.Or(strings.Compare(a.Device, b.Device), a.IP.Compare(b.IP))
}
