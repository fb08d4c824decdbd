package cli

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Report is what `kubectl hopsack status -o json` prints. Fields are only ever added.
type Report struct {
	// Generation is that of the NetworkConfig; what follows is about ObservedGeneration.
	Generation         int64 `json:"generation"`
	ObservedGeneration int64 `json:"observedGeneration"`
	// Network, Backend and MTU are what nodes have or are being moved to. They are empty until the first spec was accepted.
	Network string           `json:"network,omitempty"`
	Backend v1alpha1.Backend `json:"backend,omitzero"`
	// MTU is in bytes; 0 means the underlay's MTU minus the backend's overhead.
	MTU            int32  `json:"mtu"`
	ActiveRevision string `json:"activeRevision,omitempty"`
	TargetRevision string `json:"targetRevision,omitempty"`

	Conditions []metav1.Condition      `json:"conditions"`
	Rollout    *v1alpha1.RolloutStatus `json:"rollout,omitempty"`
	NodeCounts v1alpha1.NodeCounts     `json:"nodeCounts"`
	Subnets    v1alpha1.SubnetCounts   `json:"subnets"`
	// FailingPairs and EncapsulatedPairs are at most 16 each; the counts say how many there are.
	FailingPairs          []v1alpha1.NodePair `json:"failingPairs,omitempty"`
	FailingPairCount      int32               `json:"failingPairCount"`
	EncapsulatedPairs     []v1alpha1.NodePair `json:"encapsulatedPairs,omitempty"`
	EncapsulatedPairCount int32               `json:"encapsulatedPairCount"`

	// Nodes are in the order of their names.
	Nodes []NodeReport `json:"nodes"`
}

// NodeReport is one node of a Report.
type NodeReport struct {
	Name string `json:"name"`
	// Subnets are the node's subnets, also those that are draining.
	Subnets []string `json:"subnets,omitempty"`
	// Underlay are the addresses that peers send to, as the leases publish them.
	Underlay  []string `json:"underlay,omitempty"`
	Interface string   `json:"interface,omitempty"`
	MTU       int32    `json:"mtu,omitempty"`
	// Transmit is the revision the node was asked to send with, Revision the one it has proven that it sends with.
	Transmit string `json:"transmit,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Backend is that of Revision.
	Backend v1alpha1.Backend `json:"backend,omitzero"`
	// Paths is absent until the agent has counted.
	Paths *v1alpha1.PathCounts `json:"paths,omitempty"`
	// Prepared are the revisions the node can receive.
	Prepared []string `json:"prepared,omitempty"`
	// Verification is about the revision being rolled out, or about the one in force when none is.
	Verification   *v1alpha1.Verification   `json:"verification,omitempty"`
	FailedRevision *v1alpha1.FailedRevision `json:"failedRevision,omitempty"`
	// Current says that the agent's report is about the present spec of its NodeNetwork.
	Current bool `json:"current"`
	// Ready is True, False or Unknown, with the agent's reason and sentence.
	Ready   string `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// cluster is all that the commands look at, except for Nodes and Pods.
type cluster struct {
	config *v1alpha1.NetworkConfig
	nodes  []v1alpha1.NodeNetwork // by name
	leases []v1alpha1.SubnetLease // by address
}

func readCluster(ctx context.Context, c client.Reader) (cluster, error) {
	config, err := networkConfig(ctx, c)
	if err != nil {
		return cluster{}, err
	}
	nodes, err := list(ctx, c, &v1alpha1.NodeNetworkList{}, "nodenetworks")
	if err != nil {
		return cluster{}, err
	}
	leases, err := list(ctx, c, &v1alpha1.SubnetLeaseList{}, "subnetleases")
	if err != nil {
		return cluster{}, err
	}
	out := cluster{config: config, nodes: nodes.Items, leases: leases.Items}
	slices.SortFunc(out.nodes, func(a, b v1alpha1.NodeNetwork) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.leases, func(a, b v1alpha1.SubnetLease) int { return prefixOf(a).Compare(prefixOf(b)) })
	return out, nil
}

// prefixOf is the lease's subnet; the CRD holds it in canonical form.
func prefixOf(l v1alpha1.SubnetLease) netip.Prefix {
	p, err := netip.ParsePrefix(l.Spec.Subnet)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (c cluster) node(name string) *v1alpha1.NodeNetwork {
	for i := range c.nodes {
		if c.nodes[i].Name == name {
			return &c.nodes[i]
		}
	}
	return nil
}

// underlay are the addresses that the node's leases publish.
func (c cluster) underlay(node string) []string {
	var out []string
	for _, l := range c.leases {
		for _, ip := range []string{l.Status.PublicIP, l.Status.PublicIPv6} {
			if l.Spec.NodeName == node && l.Status.ReleasedAt == nil && ip != "" && !slices.Contains(out, ip) {
				out = append(out, ip)
			}
		}
	}
	return out
}

func newReport(c cluster) Report {
	s := c.config.Status
	r := Report{
		Generation: c.config.Generation, ObservedGeneration: s.ObservedGeneration,
		ActiveRevision: s.ActiveRevision, TargetRevision: s.TargetRevision,
		Conditions: s.Conditions, Rollout: s.Rollout, NodeCounts: s.Nodes, Subnets: s.Subnets,
		FailingPairs: s.FailingPairs, FailingPairCount: s.FailingPairCount,
		EncapsulatedPairs: s.EncapsulatedPairs, EncapsulatedPairCount: s.EncapsulatedPairCount,
		Nodes: []NodeReport{},
	}
	if e := s.Effective; e != nil {
		r.Network, r.Backend, r.MTU = e.Network, e.Backend, e.MTU
	}
	for i := range c.nodes {
		r.Nodes = append(r.Nodes, c.nodeReport(&c.nodes[i]))
	}
	return r
}

func (c cluster) nodeReport(nn *v1alpha1.NodeNetwork) NodeReport {
	n := NodeReport{
		Name: nn.Name, Underlay: c.underlay(nn.Name), Interface: nn.Status.Interface, MTU: nn.Status.MTU,
		Transmit: nn.Spec.Transmit, Revision: nn.Status.TransmitRevision, Paths: nn.Status.Paths,
		Prepared: nn.Status.PreparedRevisions, FailedRevision: nn.Status.FailedRevision,
		Current: nn.Status.ObservedGeneration == nn.Generation,
	}
	for _, s := range nn.Spec.Subnets {
		n.Subnets = append(n.Subnets, s.Subnet)
	}
	if rev := revisionOf(nn, n.Revision); rev != nil {
		n.Backend = rev.Backend
	}
	about := c.config.Status.TargetRevision
	if verificationOf(nn, about) == nil {
		about = n.Revision
	}
	n.Verification = verificationOf(nn, about)
	n.Ready, n.Reason, n.Message = readyOf(nn)
	return n
}

func revisionOf(nn *v1alpha1.NodeNetwork, id string) *v1alpha1.Revision {
	for i := range nn.Spec.Revisions {
		if nn.Spec.Revisions[i].ID == id {
			return &nn.Spec.Revisions[i]
		}
	}
	return nil
}

func verificationOf(nn *v1alpha1.NodeNetwork, id string) *v1alpha1.Verification {
	for i := range nn.Status.Verifications {
		if nn.Status.Verifications[i].Revision == id {
			return &nn.Status.Verifications[i]
		}
	}
	return nil
}

// subnets, underlay and verified are cells of the table.
func (n NodeReport) cells(wide bool) []string {
	direct, encapsulated, verified := "", "", ""
	if n.Paths != nil {
		direct, encapsulated = itoa(n.Paths.Direct), itoa(n.Paths.Encapsulated)
	}
	if v := n.Verification; v != nil {
		verified = itoa(v.Verified) + "/" + itoa(v.Peers)
	}
	revision := n.Revision
	if n.Transmit != "" && n.Transmit != n.Revision {
		revision = cmp.Or(revision, "none") + ">" + n.Transmit
	}
	cells := []string{n.Name, strings.Join(n.Subnets, ","), strings.Join(n.Underlay, ","), revision,
		string(n.Backend.Type), direct, encapsulated, verified, n.Ready}
	if wide {
		cells = append(cells, n.Reason, n.Interface, itoa(n.MTU), strings.Join(n.Prepared, ","), n.Message)
	}
	return cells
}
