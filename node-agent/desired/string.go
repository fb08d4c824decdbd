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
	for _, lines := range [][]string{fdb, neighs, routes} {
		section(lines)
	}
	for _, f := range s.Files {
		fmt.Fprintf(&out, "file %s\n  %s\n", f.Path, strings.ReplaceAll(strings.TrimSpace(f.Content), "\n", "\n  "))
	}
	return out.String()
}

// String prints the device as ip does.
func (l Link) String() string {
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
