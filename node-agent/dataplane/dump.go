package dataplane

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Dump reads what of hopsack is in the kernel, in the form of a State: its devices, the addresses and entries on them,
// its routes at metric 0, those of other tables and the ip rules. It is for people; Sync compares more than a State can say. It changes nothing.
func (d *Dataplane) Dump(ctx context.Context) (desired.State, error) {
	links, err := retried("devices", d.kernel.Links)
	if err != nil {
		return desired.State{}, err
	}
	out := desired.State{
		Links: map[string]desired.Link{}, Addrs: map[desired.AddrKey]desired.Scope{}, FDB: map[desired.FDBKey]netip.Addr{},
		Neighs: map[desired.NeighKey]network.MAC{}, Routes: map[netip.Prefix]desired.Route{},
		Tables: map[int]map[netip.Prefix]desired.Route{}, Rules: map[desired.Rule]struct{}{},
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
		if !l.own() {
			continue
		}
		out.Links[l.Name] = desired.Link{Kind: l.Kind, MAC: l.MAC, MTU: l.MTU, VNI: l.VNI, Port: l.Port, Local: l.Local}
		if l.Kind != desired.KindVXLAN {
			continue
		}
		if err := d.dumpEntries(l, out); err != nil {
			return desired.State{}, err
		}
	}
	addrs, err := retried("addresses", d.kernel.Addrs)
	if err != nil {
		return desired.State{}, err
	}
	for _, a := range addrs {
		if name := names[a.Index]; out.Links[name].Kind != "" {
			out.Addrs[desired.AddrKey{Device: name, Prefix: a.Prefix}] = a.Scope
		}
	}
	routes, err := retried("routes", func() ([]Route, error) { return d.kernel.Routes(func(netip.Prefix) bool { return false }) })
	if err != nil {
		return desired.State{}, err
	}
	for _, r := range routes {
		if r.Metric == 0 && r.TOS == 0 {
			out.Routes[r.Prefix] = routeTo(r, names)
		}
	}
	if err := d.dumpTables(names, out); err != nil {
		return desired.State{}, err
	}
	if err := ctx.Err(); err != nil {
		return desired.State{}, fmt.Errorf("read the kernel: %w", err)
	}
	return out, nil
}

func routeTo(r Route, names map[int]string) desired.Route {
	return desired.Route{
		Unreachable: r.Unreachable, Device: names[r.Index], Gateway: r.Gateway, OnLink: r.OnLink, Source: r.Source, MTU: int(r.MTU),
	}
}

// dumpTables reads hopsack's routes in other tables than main, and the rules that lead there.
func (d *Dataplane) dumpTables(names map[int]string, out desired.State) error {
	routes, err := retried("routes of all tables", func() ([]Route, error) { return d.kernel.TableRoutes(0) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		if out.Tables[r.Table] == nil {
			out.Tables[r.Table] = map[netip.Prefix]desired.Route{}
		}
		out.Tables[r.Table][r.Prefix] = routeTo(r, names)
	}
	rules, err := retried("rules", d.kernel.Rules)
	if err != nil {
		return err
	}
	for _, r := range rules {
		out.Rules[r.Rule] = struct{}{}
	}
	return nil
}

// dumpEntries reads one vxlan device's FDB and ARP entries.
func (d *Dataplane) dumpEntries(l Link, out desired.State) error {
	fdb, err := retried("fdb entries of "+l.Name, func() ([]Neigh, error) { return d.kernel.FDB(l.Index) })
	if err != nil {
		return err
	}
	for _, n := range fdb {
		out.FDB[desired.FDBKey{Device: l.Name, MAC: n.MAC}] = n.IP
	}
	neighs, err := retried("neigh entries of "+l.Name, func() ([]Neigh, error) { return d.kernel.Neighs(l.Index) })
	if err != nil {
		return err
	}
	for _, n := range neighs {
		out.Neighs[desired.NeighKey{Device: l.Name, IP: n.IP}] = n.MAC
	}
	return nil
}
