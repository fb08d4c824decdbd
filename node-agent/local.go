package nodeagent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/cniinstall"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// Cleanup removes all that hopsack made on this node, without the API server, and the plugins last. Pods lose their network. The
// agent must not be running, or it makes everything again.
func Cleanup(ctx context.Context, opts Options) (dataplane.Changes, error) {
	dp, err := dataplane.New(dataplaneOptions(opts))
	if err != nil {
		return nil, err
	}
	report, err := dp.Sync(ctx, desired.State{}, true)
	if err != nil {
		return report.Changes, err
	}
	removed, err := cniinstall.Remove(opts.CNIBinDir)
	if len(removed) > 0 {
		report.Changes[changedPlugin] = len(removed)
	}
	return report.Changes, errors.Join(err, store.Remove(opts.StateDir))
}

// changedPlugin is how Cleanup counts plugins, beside the kinds of the data path.
const changedPlugin = "plugin"

// LocalStatus is what the node was last told, what it found out, and what its kernel has of it.
type LocalStatus struct {
	Node    string    `json:"node"`
	SavedAt time.Time `json:"savedAt"`
	// Leases is the number of leases held, the node's own included.
	Leases  int           `json:"leases"`
	Subnets []LocalSubnet `json:"subnets"`
	// Wanted is the revision that the node was asked to send with; Sending the one that it sends with. They differ after it
	// went back by itself. Confirmed is the last one that was proven in use: while it is another than Sending, that is on trial.
	Wanted    string                   `json:"wanted,omitempty"`
	Sending   string                   `json:"sending,omitempty"`
	Confirmed string                   `json:"confirmed,omitempty"`
	Failed    *v1alpha1.FailedRevision `json:"failed,omitempty"`
	// Revisions are those that the node receives.
	Revisions []LocalRevision `json:"revisions"`
	// Endpoint is where peers reach the node, Joined says that they do: pods may start.
	Endpoint string         `json:"endpoint,omitempty"`
	Joined   bool           `json:"joined"`
	Underlay *LocalUnderlay `json:"underlay,omitempty"`
	Problems []LocalProblem `json:"problems,omitempty"`
	Peers    []LocalPeer    `json:"peers"`
}

// LocalSubnet is a subnet of the node; its state is bound or draining.
type LocalSubnet struct {
	Subnet string `json:"subnet"`
	State  string `json:"state"`
}

// LocalRevision is a revision that the node receives. MTU is in bytes, 0 where it follows from the underlay.
type LocalRevision struct {
	ID            string `json:"id"`
	Backend       string `json:"backend"`
	VNI           uint32 `json:"vni,omitempty"`
	Port          uint16 `json:"port,omitempty"`
	DirectRouting string `json:"directRouting,omitempty"`
	MTU           int    `json:"mtu,omitempty"`
}

// LocalUnderlay is the interface that carries packets between nodes.
type LocalUnderlay struct {
	Interface string       `json:"interface"`
	Addresses []netip.Addr `json:"addresses"`
	MTU       int          `json:"mtu"`
}

// LocalProblem is something that is wrong.
type LocalProblem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// LocalPeer is a subnet of another node. Path is direct, encapsulated or none; Kernel says whether the kernel has Route.
type LocalPeer struct {
	Node   string `json:"node"`
	Subnet string `json:"subnet"`
	Path   string `json:"path"`
	Route  string `json:"route,omitempty"`
	Kernel string `json:"kernel"`
}

// Status reads what is on disk and in the kernel, without the API server. It changes nothing. It is nil when nothing is saved.
func Status(opts Options) (*LocalStatus, error) {
	content, found, err := store.Load(opts.StateDir)
	if err != nil || !found {
		return nil, err
	}
	v := newView()
	v.restore(content)
	seen := v.take(content.SavedAt)
	out := localFromDisk(content, seen)
	if seen.Parsed.Transmit == nil {
		return out, nil
	}
	kernel, err := dataplane.NewNetlink()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	facts, err := readFacts(kernel, seen.Parsed.Transmit.Interface, seen.Parsed.InternalIPs, dataplane.IsOwnLink)
	if err != nil {
		out.Problems = append(out.Problems, LocalProblem{v1alpha1.ReasonNoInterface, err.Error()})
		return out, nil
	}
	out.Underlay = &LocalUnderlay{Interface: facts.Underlay.Name, Addresses: facts.Underlay.Addrs, MTU: facts.Underlay.MTU}
	return out, out.readKernel(kernel, seen, facts)
}

// localFromDisk is the part that the disk knows.
func localFromDisk(content store.Content, seen snapshot) *LocalStatus {
	node := seen.Parsed
	out := &LocalStatus{Node: content.Node.Name, SavedAt: content.SavedAt, Leases: len(content.Leases), Endpoint: seen.endpoint()}
	for _, s := range node.Subnets {
		state := "bound"
		if s.Draining {
			state = "draining"
		}
		out.Subnets = append(out.Subnets, LocalSubnet{s.Prefix.String(), state})
	}
	for _, r := range node.Revisions {
		out.Revisions = append(out.Revisions, LocalRevision{
			ID: r.ID, Backend: string(r.Backend.Type), VNI: r.Backend.VNI, Port: r.Backend.Port,
			DirectRouting: string(r.Backend.DirectRouting), MTU: r.MTU,
		})
	}
	found := memory{proven: out.Endpoint}
	if a := content.Agent; a != nil {
		found = memory{proven: a.Proven, commit: commit{Confirmed: a.Confirmed, Failed: a.Failed}}
	}
	out.Joined = out.Endpoint != "" && found.proven == out.Endpoint
	if node.Transmit != nil {
		after, send := found.commit.next(node, 0, trial{})
		out.Wanted, out.Sending, out.Confirmed, out.Failed = node.Transmit.ID, send.Revision, after.Confirmed, after.Failed
	}
	return out
}

// readKernel adds what the kernel should have, and whether it does.
func (s *LocalStatus) readKernel(kernel *dataplane.Netlink, seen snapshot, facts desired.Facts) error {
	routes, err := kernel.Routes(func(netip.Prefix) bool { return false })
	if err != nil {
		return err
	}
	has, err := kernelRoutes(kernel, routes)
	if err != nil {
		return err
	}
	direct := map[string]map[string]bool{}
	for _, r := range seen.Parsed.Revisions {
		direct[r.ID] = directPeers(routes, seen)
	}
	want, problems := desired.Compute(desired.Input{
		Node: withTransmit(seen.Parsed, s.Sending), Peers: seen.Peers, Facts: facts, Direct: direct,
	})
	for _, p := range problems {
		s.Problems = append(s.Problems, LocalProblem{p.Reason, p.Message})
	}
	slices.SortFunc(seen.Peers, func(a, b network.Lease) int { return a.Subnet.Compare(b.Subnet) })
	for _, p := range seen.Peers {
		if p.Node != s.Node {
			s.Peers = append(s.Peers, localPeer(p, want, has, facts.Underlay.Name))
		}
	}
	return nil
}

// localPeer compares the route to a peer with the kernel's.
func localPeer(p network.Lease, want desired.State, has map[netip.Prefix]desired.Route, underlay string) LocalPeer {
	out := LocalPeer{Node: p.Node, Subnet: p.Subnet.String(), Path: "none", Kernel: "as wanted"}
	route, wanted := want.Routes[p.Subnet]
	actual, there := has[p.Subnet]
	switch {
	case !wanted && len(want.Routes) == 0:
		out.Kernel = "left to others" // alloc
	case !wanted:
		out.Kernel = "no way to this peer"
	case !there:
		out.Kernel = "missing"
	case actual != route:
		out.Kernel = "is " + actual.String()
	}
	if wanted {
		out.Route, out.Path = route.String(), "encapsulated"
		if route.Device == underlay {
			out.Path = "direct"
		}
	}
	return out
}

// kernelRoutes are hopsack's routes by prefix.
func kernelRoutes(kernel *dataplane.Netlink, routes []dataplane.Route) (map[netip.Prefix]desired.Route, error) {
	links, err := kernel.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	out := map[netip.Prefix]desired.Route{}
	for _, r := range routes {
		out[r.Prefix] = desired.Route{
			Unreachable: r.Unreachable, Device: names[r.Index], Gateway: r.Gateway, OnLink: r.OnLink, Source: r.Source, MTU: int(r.MTU),
		}
	}
	return out, nil
}
