package desired

import (
	"fmt"
	"slices"
	"strings"
)

// String prints the state as ip, bridge and nft would, one entry a line, sorted within each kind: what golden tests and a
// person compare.
func (s State) String() string {
	var out strings.Builder
	section := func(lines []string) {
		slices.Sort(lines)
		for _, l := range lines {
			out.WriteString(strings.TrimRight(l, " ") + "\n")
		}
	}
	var links, addrs, fdb, neighs, routes, sysctls []string
	for name, l := range s.Links {
		links = append(links, "link "+name+" "+l.String())
	}
	for k, scope := range s.Addrs {
		addrs = append(addrs, fmt.Sprintf("addr %s dev %s scope %s", k.Prefix, k.Device, scope))
	}
	for name := range s.Loose {
		sysctls = append(sysctls, "rp_filter "+name+" not strict")
	}
	for key, v := range s.Sysctls {
		sysctls = append(sysctls, "sysctl "+key+" = "+v)
	}
	for k, ip := range s.FDB {
		fdb = append(fdb, fmt.Sprintf("fdb %s dev %s dst %s", k.MAC, k.Device, ip))
	}
	for k, mac := range s.Neighs {
		neighs = append(neighs, fmt.Sprintf("neigh %s dev %s lladdr %s", k.IP, k.Device, mac))
	}
	for p, r := range s.Routes {
		routes = append(routes, "route "+r.format(p.String()))
	}
	for _, lines := range [][]string{links, addrs, sysctls} {
		section(lines)
	}
	if s.Firewall != nil {
		out.WriteString(s.Firewall.String())
	}
	for _, lines := range [][]string{fdb, neighs, routes, s.tableLines()} {
		section(lines)
	}
	if s.PodMTU > 0 {
		fmt.Fprintf(&out, "pods mtu %d\n", s.PodMTU)
	}
	for _, t := range s.UDPTunnels {
		out.WriteString(t.String())
	}
	for _, p := range s.Probes {
		out.WriteString(p.String())
	}
	for _, f := range s.Files {
		fmt.Fprintf(&out, "file %s\n  %s\n", f.Path, strings.ReplaceAll(strings.TrimSpace(f.Content), "\n", "\n  "))
	}
	return out.String()
}

// tableLines are the routes of other tables than main, and the rules that lead there.
func (s State) tableLines() []string {
	var out []string
	for r := range s.Rules {
		out = append(out, "rule "+r.String())
	}
	for table, routes := range s.Tables {
		for p, r := range routes {
			out = append(out, fmt.Sprintf("table %d route %s", table, r.format(p.String())))
		}
	}
	return out
}

// String prints the rule as ip does.
func (r Rule) String() string {
	return fmt.Sprintf("from %s ipproto udp sport %d lookup %d", r.Source, r.Port, r.Table)
}

// String prints the tunnel and its peers, one a line, and whose addresses come from none of them.
func (t UDPTunnel) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "udp tunnel %s mtu %d local %s port %d\n", t.Device, t.MTU, t.Local, t.Port)
	for _, p := range t.Peers {
		fmt.Fprintf(&out, "  %s remote %s", p.Subnet, p.Remote)
		if p.Other.IsValid() {
			fmt.Fprintf(&out, " and %s", p.Other)
		}
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "  outsiders to %v, not from %v %v\n", t.Subnets, t.Networks, t.Hosts)
	return out.String()
}

// String prints the path and its targets, one a line.
func (p Probe) String() string {
	var out strings.Builder
	table := "main"
	if p.Table != 0 {
		table = fmt.Sprint(p.Table)
	}
	fmt.Fprintf(&out, "probe %s %s table %s sport %d mtu %d", p.Revision, p.Kind, table, p.Port, p.MTU)
	if p.TunnelPort != 0 {
		fmt.Fprintf(&out, " tunnel port %d", p.TunnelPort)
	}
	out.WriteString("\n")
	for _, t := range p.Targets {
		fmt.Fprintf(&out, "  %s %s at %s", t.Node, t.Subnet, t.Underlay)
		if t.Direct {
			out.WriteString(" direct")
		}
		if t.NoPath != "" {
			out.WriteString(" no path: " + t.NoPath)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// String prints the device as ip does.
func (l Link) String() string {
	if l.Kind == KindTUN {
		return fmt.Sprintf("%s mtu %d multi_queue vnet_hdr port %d", l.Kind, l.MTU, l.Port)
	}
	out := fmt.Sprintf("%s mtu %d address %s", l.Kind, l.MTU, l.MAC)
	if l.Kind == KindVXLAN {
		out += fmt.Sprintf(" id %d dstport %d local %s", l.VNI, l.Port, l.Local)
	}
	return out
}

// String prints the route as ip does, without its destination.
func (r Route) String() string { return r.format("") }

func (r Route) format(dst string) string {
	if r.Unreachable {
		return strings.TrimSpace("unreachable " + dst)
	}
	out := dst
	if r.Gateway.IsValid() {
		out += " via " + r.Gateway.String()
	}
	out += " dev " + r.Device
	if r.OnLink {
		out += " onlink"
	}
	if r.Source.IsValid() {
		out += " src " + r.Source.String()
	}
	if r.MTU > 0 {
		out += fmt.Sprintf(" mtu %d", r.MTU)
	}
	return strings.TrimSpace(out)
}

// String prints what the packet filter is told, one fact a line.
func (f Firewall) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "firewall pods on %s %v of %v\n", f.Bridge, f.LocalSubnets, f.PodNetworks)
	if f.Masquerade {
		fmt.Fprintf(&out, "firewall masquerade except %v random-fully %t\n", f.Except, f.RandomFully)
	}
	fmt.Fprintf(&out, "firewall nodeport mark %#x snat to %v\n", f.NodePortMark, f.NodeAddrs)
	if len(f.TunnelPorts) > 0 {
		fmt.Fprintf(&out, "firewall tunnel ports %v only from %v\n", f.TunnelPorts, f.Peers)
	}
	return out.String()
}
