package nodeagent

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// Cleanup removes all that hopsack made on this node, without the API server. Pods lose their network. The agent must not
// be running, or it makes everything again.
func Cleanup(ctx context.Context, opts Options) (dataplane.Changes, error) {
	dp, err := dataplane.New(dataplaneOptions(opts))
	if err != nil {
		return nil, err
	}
	report, err := dp.Sync(ctx, desired.State{}, true)
	if err != nil {
		return report.Changes, err
	}
	return report.Changes, store.Remove(opts.StateDir)
}

// PrintStatus writes what the node was last told and what its kernel has of it, without the API server. It changes nothing.
func PrintStatus(opts Options, out io.Writer) error {
	content, found, err := store.Load(opts.StateDir)
	if err != nil {
		return err
	}
	if !found {
		fmt.Fprintf(out, "No network: nothing is saved in %s. The agent has not seen a NodeNetwork yet.\n", opts.StateDir)
		return nil
	}
	node, err := network.NodeFromAPI(&content.Node)
	if err != nil {
		return err
	}
	v := newView()
	v.restore(content)
	seen := v.take(content.SavedAt)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Node\t%s\n", node.Name)
	fmt.Fprintf(w, "Objects\tsaved %s ago, %d leases\n", time.Since(content.SavedAt).Round(time.Second), len(content.Leases))
	for _, s := range node.Subnets {
		state := "bound"
		if s.Draining {
			state = "draining"
		}
		fmt.Fprintf(w, "Subnet\t%s %s\n", s.Prefix, state)
	}
	if node.Transmit == nil {
		fmt.Fprintln(w, "Backend\tnone yet")
		return w.Flush()
	}
	fmt.Fprintf(w, "Backend\t%s, revision %s\n", node.Transmit.Backend.Type, node.Transmit.ID)
	kernel, err := dataplane.NewNetlink()
	if err != nil {
		return err
	}
	defer kernel.Close()
	facts, err := readFacts(kernel, node.Transmit.Interface, node.InternalIPs, dataplane.IsOwnLink)
	if err != nil {
		fmt.Fprintf(w, "Underlay\t%v\n", err)
		return w.Flush()
	}
	fmt.Fprintf(w, "Underlay\t%s %v mtu %d\n", facts.Underlay.Name, facts.Underlay.Addrs, facts.Underlay.MTU)
	want, problems := desired.Compute(desired.Input{Node: node, Peers: seen.Peers, Facts: facts, Paths: opts.Paths})
	for _, p := range problems {
		fmt.Fprintf(w, "Problem\t%s: %s\n", p.Reason, p.Message)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printPeers(kernel, out, want, seen.Peers, node.Name)
}

// printPeers writes a line per peer: the route it should have and whether the kernel has it.
func printPeers(kernel *dataplane.Netlink, out io.Writer, want desired.State, peers []network.Lease, self string) error {
	has, err := kernelRoutes(kernel)
	if err != nil {
		return err
	}
	slices.SortFunc(peers, func(a, b network.Lease) int { return a.Subnet.Compare(b.Subnet) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nPEER\tSUBNET\tROUTE\tKERNEL")
	for _, p := range peers {
		if p.Node == self {
			continue
		}
		state := "as wanted"
		route, wanted := want.Routes[p.Subnet]
		actual, there := has[p.Subnet]
		switch {
		case !wanted && len(want.Routes) == 0:
			state = "left to others" // alloc
		case !wanted:
			state = "no way to this peer"
		case !there:
			state = "missing"
		case actual != route:
			state = "is " + actual.String()
		}
		shown := "-"
		if wanted {
			shown = route.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Node, p.Subnet, shown, state)
	}
	return w.Flush()
}

// kernelRoutes are hopsack's routes as the kernel has them.
func kernelRoutes(kernel *dataplane.Netlink) (map[netip.Prefix]desired.Route, error) {
	links, err := kernel.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	routes, err := kernel.Routes(func(netip.Prefix) bool { return false })
	if err != nil {
		return nil, err
	}
	out := map[netip.Prefix]desired.Route{}
	for _, r := range routes {
		out[r.Prefix] = desired.Route{
			Unreachable: r.Unreachable, Device: names[r.Index], Gateway: r.Gateway, OnLink: r.OnLink, Source: r.Source, MTU: int(r.MTU),
		}
	}
	return out, nil
}
