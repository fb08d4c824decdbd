package fakekernel

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Kernel is the fake. Its zero value has no devices.
type Kernel struct {
	// Fail, when set, is asked before every call, by the method's name; an error is what the call returns.
	Fail func(method string) error
	// ProcSys is where SetRPFilter writes; required for it.
	ProcSys string
	// Writes are the calls that changed something, in order, one line each.
	Writes []string

	links  []dataplane.Link
	addrs  []dataplane.Addr
	neighs []dataplane.Neigh
	routes []dataplane.Route
	rules  []dataplane.Rule
	last   int

	// PodMTU is the mtu of pods' default routes, by the path of their namespace; one that is not there has gone.
	PodMTU map[string]int
	// Reads are the calls that changed nothing, in order, by the method's name.
	Reads []string
}

var _ dataplane.Kernel = (*Kernel)(nil)

// AddLink adds a device that is not hopsack's and returns its index.
func (k *Kernel) AddLink(l dataplane.Link) int {
	k.last++
	l.Index = k.last
	k.links = append(k.links, l)
	return l.Index
}

// String prints all there is, sorted.
func (k *Kernel) String() string {
	var lines []string
	for _, l := range k.links {
		lines = append(lines, fmt.Sprintf("link %s %s mac %s mtu %d alias %q up %t local %s master %s port %+v", l.Name, l.Kind, l.MAC, l.MTU, l.Alias,
			l.Up, l.Local, k.name(l.Master), l.BridgePort))
	}
	for _, a := range k.addrs {
		lines = append(lines, fmt.Sprintf("addr %s on %s scope %s label %q", a.Prefix, k.name(a.Index), a.Scope, a.Label))
	}
	for _, n := range k.neighs {
		lines = append(lines, fmt.Sprintf("neigh fdb %t %s %s on %s", n.FDB, n.MAC, n.IP, k.name(n.Index)))
	}
	for _, r := range k.routes {
		lines = append(lines, "route "+k.route(r))
	}
	for _, r := range k.rules {
		lines = append(lines, fmt.Sprintf("rule %s priority %d", r.Rule, r.Priority))
	}
	for path, mtu := range k.PodMTU {
		lines = append(lines, fmt.Sprintf("pod %s mtu %d", path, mtu))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (k *Kernel) name(index int) string {
	if i := k.find(index); i >= 0 {
		return k.links[i].Name
	}
	return "?"
}

func (k *Kernel) find(index int) int {
	return slices.IndexFunc(k.links, func(l dataplane.Link) bool { return l.Index == index })
}

func (k *Kernel) route(r dataplane.Route) string {
	out := fmt.Sprintf("%s unreachable %t via %s dev %s src %s mtu %d", r.Prefix, r.Unreachable, r.Gateway, k.name(r.Index), r.Source, r.MTU)
	if r.Table != 0 {
		out += fmt.Sprintf(" table %d", r.Table)
	}
	return out
}

func (k *Kernel) read(method string) error {
	k.Reads = append(k.Reads, method)
	return k.call(method)
}

func (k *Kernel) call(method string) error {
	if k.Fail != nil {
		return k.Fail(method)
	}
	return nil
}

func (k *Kernel) write(method, format string, args ...any) error {
	if err := k.call(method); err != nil {
		return err
	}
	k.Writes = append(k.Writes, fmt.Sprintf(format, args...))
	return nil
}

// Links returns a copy of all devices.
func (k *Kernel) Links() ([]dataplane.Link, error) {
	return slices.Clone(k.links), k.read("Links")
}

// Addrs returns a copy of all addresses.
func (k *Kernel) Addrs() ([]dataplane.Addr, error) {
	return slices.Clone(k.addrs), k.read("Addrs")
}

// FDB returns a device's forwarding entries.
func (k *Kernel) FDB(index int) ([]dataplane.Neigh, error) {
	return k.entries(index, true), k.read("FDB")
}

// Neighs returns a device's ARP and NDP entries.
func (k *Kernel) Neighs(index int) ([]dataplane.Neigh, error) {
	return k.entries(index, false), k.read("Neighs")
}

func (k *Kernel) entries(index int, fdb bool) []dataplane.Neigh {
	return slices.DeleteFunc(slices.Clone(k.neighs), func(n dataplane.Neigh) bool { return n.Index != index || n.FDB != fdb })
}

// Routes returns all routes of hopsack's protocol and the contested ones.
func (k *Kernel) Routes(contested func(netip.Prefix) bool) ([]dataplane.Route, error) {
	return slices.DeleteFunc(slices.Clone(k.routes), func(r dataplane.Route) bool {
		return r.Table != 0 || r.Protocol != dataplane.RouteProtocol && !contested(r.Prefix)
	}), k.read("Routes")
}

// TableRoutes returns the routes of a table, or hopsack's of all tables but main.
func (k *Kernel) TableRoutes(table int) ([]dataplane.Route, error) {
	return slices.DeleteFunc(slices.Clone(k.routes), func(r dataplane.Route) bool {
		return r.Table == 0 || table != 0 && r.Table != table || table == 0 && r.Protocol != dataplane.RouteProtocol
	}), k.read("TableRoutes")
}

// Rules returns a copy of all rules.
func (k *Kernel) Rules() ([]dataplane.Rule, error) {
	return slices.Clone(k.rules), k.read("Rules")
}

// TableOf returns the table of the rule, or main where there is none.
func (k *Kernel) TableOf(r desired.Rule, _ int, _ netip.Addr) (int, error) {
	for _, have := range k.rules {
		if have.Rule == r {
			return r.Table, nil
		}
	}
	return mainTable, nil
}

// mainTable is the number of table main.
const mainTable = 254

// AddRule adds a rule.
func (k *Kernel) AddRule(r desired.Rule) error {
	if err := k.write("AddRule", "add rule %s", r); err != nil {
		return err
	}
	k.rules = append(k.rules, dataplane.Rule{Rule: r, Priority: dataplane.RulePriority, IPv6: r.Source.Is6()})
	return nil
}

// DeleteRule deletes a rule.
func (k *Kernel) DeleteRule(r dataplane.Rule) error {
	if err := k.write("DeleteRule", "delete rule %s", r.Rule); err != nil {
		return err
	}
	k.rules = slices.DeleteFunc(k.rules, func(o dataplane.Rule) bool { return o == r })
	return nil
}

// SetPodMTU sets the mtu of a pod's default route.
func (k *Kernel) SetPodMTU(p handoff.Pod, mtu int, raise bool) (int, error) {
	have, there := k.PodMTU[p.Netns]
	larger := have == 0 || mtu != 0 && have > mtu
	if !there || have == mtu || !raise && !larger {
		return 0, k.read("SetPodMTU")
	}
	if err := k.write("SetPodMTU", "set mtu of pod %s to %d", p.ContainerID, mtu); err != nil {
		return 0, err
	}
	k.PodMTU[p.Netns] = mtu
	return 1, nil
}

// CreateLink adds a device that is down.
func (k *Kernel) CreateLink(name string, l desired.Link) error {
	for _, other := range k.links {
		if other.Name == name || l.Kind == desired.KindVXLAN && other.VNI == l.VNI && other.Port == l.Port {
			return unix.EEXIST
		}
	}
	if err := k.write("CreateLink", "create link %s", name); err != nil {
		return err
	}
	k.AddLink(dataplane.Link{
		Name: name, Kind: l.Kind, MAC: l.MAC, MTU: l.MTU, VNI: l.VNI, Port: l.Port, Local: l.Local, Queues: l.Kind == desired.KindTUN,
	})
	return nil
}

// ChangeLink changes one attribute.
func (k *Kernel) ChangeLink(index int, what dataplane.LinkAttr, want desired.Link) error {
	i := k.find(index)
	if i < 0 {
		return unix.ENODEV
	}
	l := &k.links[i]
	if err := k.write("ChangeLink", "set %s of link %s", what, l.Name); err != nil {
		return err
	}
	switch what {
	case dataplane.AttrAlias:
		l.Alias = dataplane.Alias
	case dataplane.AttrMAC:
		l.MAC = want.MAC
	case dataplane.AttrMTU:
		l.MTU = want.MTU
	case dataplane.AttrLocal:
		l.Local = want.Local
	case dataplane.AttrLearning:
		l.Learning = false
	case dataplane.AttrMaster:
		l.Master = 0
	case dataplane.AttrUp:
		l.Up = true
	}
	return nil
}

// DeleteLink deletes a device and what is on it.
func (k *Kernel) DeleteLink(index int) error {
	if err := k.write("DeleteLink", "delete link %s", k.name(index)); err != nil {
		return err
	}
	for _, a := range slices.Clone(k.addrs) {
		if a.Index == index {
			k.dropAddr(a)
		}
	}
	k.links = slices.DeleteFunc(k.links, func(l dataplane.Link) bool { return l.Index == index })
	for i, l := range k.links {
		if l.Master == index {
			k.links[i].Master, k.links[i].BridgePort = 0, handoff.Port{}
		}
	}
	k.neighs = slices.DeleteFunc(k.neighs, func(n dataplane.Neigh) bool { return n.Index == index })
	k.routes = slices.DeleteFunc(k.routes, func(r dataplane.Route) bool { return r.Index == index })
	return nil
}

// SetPort puts a device onto a bridge.
func (k *Kernel) SetPort(index, bridge int, p handoff.Port) error {
	i := k.find(index)
	if i < 0 {
		return unix.ENODEV
	}
	if err := k.write("SetPort", "put %s on %s, %+v", k.name(index), k.name(bridge), p); err != nil {
		return err
	}
	k.links[i].Master, k.links[i].BridgePort = bridge, p
	return nil
}

// AddAddr adds an address.
func (k *Kernel) AddAddr(a dataplane.Addr) error {
	if err := k.write("AddAddr", "add address %s on %s", a.Prefix, k.name(a.Index)); err != nil {
		return err
	}
	k.addrs = append(k.addrs, a)
	return nil
}

// DeleteAddr deletes an address and the routes that have it as their source.
func (k *Kernel) DeleteAddr(a dataplane.Addr) error {
	if err := k.write("DeleteAddr", "delete address %s on %s", a.Prefix, k.name(a.Index)); err != nil {
		return err
	}
	k.dropAddr(a)
	return nil
}

func (k *Kernel) dropAddr(a dataplane.Addr) {
	k.addrs = slices.DeleteFunc(k.addrs, func(b dataplane.Addr) bool { return a == b })
	k.routes = slices.DeleteFunc(k.routes, func(r dataplane.Route) bool { return r.Source == a.Prefix.Addr() })
}

// SetNeigh adds or replaces an entry.
func (k *Kernel) SetNeigh(n dataplane.Neigh) error {
	if err := k.write("SetNeigh", "set neigh fdb=%t %s %s on %s", n.FDB, n.MAC, n.IP, k.name(n.Index)); err != nil {
		return err
	}
	k.neighs = slices.DeleteFunc(k.neighs, func(o dataplane.Neigh) bool {
		return o.Index == n.Index && o.FDB == n.FDB && (n.FDB && o.MAC == n.MAC || !n.FDB && o.IP == n.IP)
	})
	k.neighs = append(k.neighs, n)
	return nil
}

// DeleteNeigh deletes an entry.
func (k *Kernel) DeleteNeigh(n dataplane.Neigh) error {
	if err := k.write("DeleteNeigh", "delete neigh fdb=%t %s %s on %s", n.FDB, n.MAC, n.IP, k.name(n.Index)); err != nil {
		return err
	}
	k.neighs = slices.DeleteFunc(k.neighs, func(o dataplane.Neigh) bool { return o == n })
	return nil
}

// SetRoute adds or replaces a route.
func (k *Kernel) SetRoute(r dataplane.Route, replace bool) error {
	first := slices.IndexFunc(k.routes, func(o dataplane.Route) bool {
		return o.Table == r.Table && o.Prefix == r.Prefix && o.Metric == r.Metric
	})
	if first >= 0 && !replace {
		return unix.EEXIST
	}
	if r.Source.IsValid() && !slices.ContainsFunc(k.addrs, func(a dataplane.Addr) bool { return a.Prefix.Addr() == r.Source }) {
		return unix.EINVAL
	}
	if err := k.write("SetRoute", "set route %s", k.route(r)); err != nil {
		return err
	}
	if first >= 0 {
		k.routes[first] = r
	} else {
		k.routes = append(k.routes, r)
	}
	return nil
}

// DeleteRoute deletes a route.
func (k *Kernel) DeleteRoute(r dataplane.Route) error {
	if err := k.write("DeleteRoute", "delete route %s", k.route(r)); err != nil {
		return err
	}
	k.routes = slices.DeleteFunc(k.routes, func(o dataplane.Route) bool { return o == r })
	return nil
}

// SetRPFilter writes the value where the sysctl is read.
func (k *Kernel) SetRPFilter(index int, value int) error {
	if err := k.write("SetRPFilter", "set rp_filter of %s to %d", k.name(index), value); err != nil {
		return err
	}
	path := filepath.Join(k.ProcSys, "net/ipv4/conf", k.name(index), "rp_filter")
	if err := os.WriteFile(path, []byte(fmt.Sprintln(value)), 0o644); err != nil {
		return fmt.Errorf("write rp_filter: %w", err)
	}
	return nil
}
