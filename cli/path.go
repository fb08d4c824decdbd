package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// Values of TracedPath.Path.
const (
	pathDirect       = "direct"
	pathEncapsulated = "encapsulated"
	pathLocal        = "local"
	pathNone         = "none"
	pathUnknown      = "unknown"
)

// TracedPath is how packets go from one node to the target.
type TracedPath struct {
	From string `json:"from"`
	// Revision is what the node sends with.
	Revision string               `json:"revision,omitempty"`
	Backend  v1alpha1.BackendType `json:"backend,omitempty"`
	// Path is direct, encapsulated, local (the target is on this node), none (no route) or unknown.
	Path string `json:"path"`
	// Device is where packets leave the node: a tunnel device, the underlay's interface or the bridge.
	Device string `json:"device,omitempty"`
	// NextHop is the underlay address they are sent to.
	NextHop string `json:"nextHop,omitempty"`
	// Why says why the path is what it is.
	Why string `json:"why"`
}

// tracer knows enough to say how packets go between nodes.
type tracer struct {
	cluster
	segments *segments
}

// path is how packets go from a node to a lease's.
func (t tracer) path(from *v1alpha1.NodeNetwork, to *v1alpha1.SubnetLease) TracedPath {
	p := TracedPath{From: from.Name, Revision: cmp.Or(from.Status.TransmitRevision, from.Spec.Transmit)}
	if from.Name == to.Spec.NodeName {
		p.Revision, p.Path, p.Device, p.Why = "", pathLocal, cmp.Or(from.Spec.CNI.Bridge, "cni0"), "the target is on this node"
		return p
	}
	if why := unreachable(to); why != "" {
		p.Path, p.Why = pathNone, why
		return p
	}
	revision := revisionOf(from, p.Revision)
	if revision == nil {
		p.Path, p.Why = pathNone, "the node has not said yet what it sends with"
		return p
	}
	p.NextHop = cmp.Or(to.Status.PublicIP, to.Status.PublicIPv6)
	p.Backend = revision.Backend.Type
	b, err := network.BackendFromAPI(revision.Backend)
	if err != nil {
		p.Path, p.Why = pathUnknown, err.Error()
		return p
	}
	t.choose(&p, from, to.Spec.NodeName, b)
	switch p.Path {
	case pathDirect:
		p.Device = from.Status.Interface
	case pathEncapsulated:
		p.Device = tunnelDevice(b)
	}
	if from.Spec.Transmit != "" && from.Spec.Transmit != p.Revision {
		p.Why += fmt.Sprintf("; the node is being moved to revision %s and has not confirmed it, so packets may take that path already", from.Spec.Transmit)
	}
	if c := v1alpha1.ConditionLeasesDoubtful; conditionTrue(from, c) {
		p.Why += "; the node's own list of leases is doubtful (condition LeasesDoubtful)"
	}
	return p
}

// choose fills in Path and Why.
func (t tracer) choose(p *TracedPath, from *v1alpha1.NodeNetwork, to string, b network.Backend) {
	switch b.Type {
	case v1alpha1.BackendHostGW:
		p.Path, p.Why = pathDirect, "host-gw never encapsulates"
		return
	case v1alpha1.BackendUDP:
		p.Path, p.Why = pathEncapsulated, fmt.Sprintf("the udp backend carries every packet through the agent, UDP port %d", b.Port)
		return
	case v1alpha1.BackendAlloc:
		p.Path, p.NextHop, p.Why = pathUnknown, "", "with the backend alloc somebody else routes between nodes"
		return
	}
	tunnel := fmt.Sprintf("VNI %d, UDP port %d", b.VNI, b.Port)
	if b.DirectRouting == v1alpha1.DirectRoutingNever {
		p.Path, p.Why = pathEncapsulated, "directRouting is Never; "+tunnel
		return
	}
	if f := stillEncapsulated(from, to); f != nil {
		p.Path = pathEncapsulated
		p.Why = fmt.Sprintf("on the same segment, but the direct path is not proven to work: %s; %s", cmp.Or(f.Message, f.Reason), tunnel)
		return
	}
	complete := encapsulatedListed(from)
	switch t.segments.between(from.Name, to) {
	case far:
		p.Path, p.Why = pathEncapsulated, "the nodes share no segment; "+tunnel
	case near:
		if b.DirectRouting == v1alpha1.DirectRoutingVerified && !complete {
			p.Path, p.Why = pathUnknown, "on the same segment; more direct paths fail than the node can list, and this may be one of them"
			return
		}
		p.Path = pathDirect
		p.Why = fmt.Sprintf("on the same segment, and directRouting is %s", b.DirectRouting)
	default:
		p.Path, p.Why = pathUnknown, t.undecided(from, b)
	}
}

// undecided says what is known where the objects do not tell a pair's path.
func (t tracer) undecided(from *v1alpha1.NodeNetwork, b network.Backend) string {
	why := fmt.Sprintf("direct if the nodes share a segment (directRouting %s), else encapsulated; ", b.DirectRouting)
	if c := from.Status.Paths; c != nil {
		why += fmt.Sprintf("the node reaches %d peers directly and %d encapsulated; ", c.Direct, c.Encapsulated)
	}
	return why + "`hopsack-agent status` on the node tells"
}

// stillEncapsulated is what the node says of a peer on its segment that it does not reach directly.
func stillEncapsulated(from *v1alpha1.NodeNetwork, to string) *v1alpha1.FailingPeer {
	v := verificationOf(from, from.Status.TransmitRevision)
	if v == nil {
		return nil
	}
	i := slices.IndexFunc(v.Encapsulated, func(f v1alpha1.FailingPeer) bool { return f.Node == to })
	if i < 0 {
		return nil
	}
	return &v.Encapsulated[i]
}

func encapsulatedListed(from *v1alpha1.NodeNetwork) bool {
	v := verificationOf(from, from.Status.TransmitRevision)
	return v == nil || int(v.EncapsulatedCount) <= len(v.Encapsulated)
}

// unreachable says why peers have no route to a lease, or "".
func unreachable(l *v1alpha1.SubnetLease) string {
	switch state := leaseState(l); {
	case l.Status.ReleasedAt != nil:
		return "the lease's node is gone: peers have no route to it"
	case l.Status.PublicIP == "" && l.Status.PublicIPv6 == "":
		return "the lease publishes no address yet (" + cmp.Or(state, "no status") + ")"
	}
	return ""
}

// tunnelDevice is the name that agents give a backend's device: at most 15 characters.
func tunnelDevice(b network.Backend) string {
	if b.Type == v1alpha1.BackendUDP {
		return fmt.Sprintf("hsu%d", b.Port)
	}
	if name := fmt.Sprintf("hs%d-%d", b.VNI, b.Port); len(name) <= 15 {
		return name
	}
	return fmt.Sprintf("h%d-%d", b.VNI, b.Port)
}
