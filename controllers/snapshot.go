package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// snapshot holds the objects of a pass. Those that the pass has written replace the cache's, which must not be changed.
type snapshot struct {
	// config is nil when there is none.
	config *v1alpha1.NetworkConfig
	nodes  map[string]*corev1.Node

	mu           sync.Mutex // guards the maps below during parallel writes
	nodeNetworks map[string]*v1alpha1.NodeNetwork
	leases       map[netip.Prefix]*v1alpha1.SubnetLease

	serviceCIDRs []plan.ServiceCIDR
}

// uncopied reads the cache's own objects: a pass looks at thousands and changes few.
var uncopied = client.UnsafeDisableDeepCopy

func (r *Reconciler) snapshot(ctx context.Context) (*snapshot, error) {
	s := &snapshot{
		nodes:        map[string]*corev1.Node{},
		nodeNetworks: map[string]*v1alpha1.NodeNetwork{},
		leases:       map[netip.Prefix]*v1alpha1.SubnetLease{},
	}
	var configs v1alpha1.NetworkConfigList
	var nodes corev1.NodeList
	var nodeNetworks v1alpha1.NodeNetworkList
	var leases v1alpha1.SubnetLeaseList
	for _, list := range []client.ObjectList{&configs, &nodes, &nodeNetworks, &leases} {
		if err := r.Client.List(ctx, list, uncopied); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	for i := range configs.Items {
		if configs.Items[i].Name == v1alpha1.NetworkConfigName {
			s.config = &configs.Items[i]
		}
	}
	for i := range nodes.Items {
		s.nodes[nodes.Items[i].Name] = &nodes.Items[i]
	}
	for i := range nodeNetworks.Items {
		s.nodeNetworks[nodeNetworks.Items[i].Name] = &nodeNetworks.Items[i]
	}
	for i := range leases.Items {
		// A lease whose name or subnet makes no sense cannot get past the CRD's rules; nothing can be done with one.
		if p, err := network.ParseLeaseName(leases.Items[i].Name); err == nil && p.String() == leases.Items[i].Spec.Subnet {
			s.leases[p] = &leases.Items[i]
		}
	}
	if r.ServiceCIDRs {
		if err := s.readServiceCIDRs(ctx, r.Client); err != nil {
			return nil, err
		}
	}
	return s, r.confirmGone(ctx, s)
}

func (s *snapshot) readServiceCIDRs(ctx context.Context, c client.Reader) error {
	var list networkingv1.ServiceCIDRList
	if err := c.List(ctx, &list, uncopied); err != nil {
		return fmt.Errorf("list %T: %w", &list, err)
	}
	for _, item := range list.Items {
		out := plan.ServiceCIDR{Name: item.Name}
		for _, cidr := range item.Spec.CIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				out.Prefixes = append(out.Prefixes, p.Masked())
			}
		}
		s.serviceCIDRs = append(s.serviceCIDRs, out)
	}
	return nil
}

// confirmGone reads every Node live that objects speak of and the cache does not show. A cache may lag behind another one, for
// example right after start; releasing the lease of a node that exists would cut it off.
func (r *Reconciler) confirmGone(ctx context.Context, s *snapshot) error {
	missing := map[string]bool{}
	for name := range s.nodeNetworks {
		if s.nodes[name] == nil {
			missing[name] = true
		}
	}
	for _, l := range s.leases {
		if s.nodes[l.Spec.NodeName] == nil && hasFinalizer(l, v1alpha1.LeaseFinalizer) && l.Status.ReleasedAt == nil {
			missing[l.Spec.NodeName] = true
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelWrites)
	for name := range missing {
		group.Go(func() error {
			node := &metav1.PartialObjectMetadata{}
			node.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
			err := r.Live.Get(ctx, client.ObjectKey{Name: name}, node)
			if err == nil {
				return apierrors.NewConflict(corev1.Resource("nodes"), name, fmt.Errorf("exists, but is not in the cache yet"))
			}
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("confirm that node %s is gone: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// cluster parses the objects. What cannot be parsed, because somebody edited it by hand, counts as absent.
func (s *snapshot) cluster() plan.Cluster {
	c := plan.Cluster{
		Nodes:        make(map[string]plan.Node, len(s.nodes)),
		NodeNetworks: make(map[string]plan.NodeNetwork, len(s.nodeNetworks)),
		Leases:       make(map[netip.Prefix]plan.Lease, len(s.leases)),
		ServiceCIDRs: s.serviceCIDRs,
	}
	for name, n := range s.nodes {
		c.Nodes[name] = parseNode(n)
	}
	for name, nn := range s.nodeNetworks {
		c.NodeNetworks[name] = parseNodeNetwork(nn, c.Nodes[name])
	}
	for p, l := range s.leases {
		c.Leases[p] = parseLease(p, l)
	}
	return c
}

func parseNode(n *corev1.Node) plan.Node {
	out := plan.Node{
		Name: n.Name, UID: string(n.UID), Created: n.CreationTimestamp.Time, Labels: n.Labels,
		BootID: n.Status.NodeInfo.BootID,
	}
	ready := nodeCondition(n, corev1.NodeReady)
	out.Ready, out.ReadyChanged = ready.Status == corev1.ConditionTrue, ready.LastTransitionTime.Time
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if err != nil || addr.Zone() != "" {
			continue // a host name, or an address that means nothing to others
		}
		switch a.Type {
		case corev1.NodeInternalIP:
			out.InternalIPs = append(out.InternalIPs, addr.Unmap())
		case corev1.NodeExternalIP:
			out.ExternalIPs = append(out.ExternalIPs, addr.Unmap())
		}
	}
	out.PublicIPs, _ = publicIPs(n)
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p.Masked())
		}
	}
	return out
}

// publicIPs are the addresses of the Node's annotation, at most one per family; bad is what else it holds.
func publicIPs(n *corev1.Node) (good []netip.Addr, bad []string) {
	text, ok := n.Annotations[v1alpha1.PublicIPAnnotation]
	if !ok {
		return nil, nil
	}
	for _, field := range strings.Split(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(field))
		addr = addr.Unmap()
		again := slices.ContainsFunc(good, func(a netip.Addr) bool { return a.Is4() == addr.Is4() })
		if err != nil || addr.Zone() != "" || !addr.IsGlobalUnicast() || again {
			bad = append(bad, field)
			continue
		}
		good = append(good, addr)
	}
	return good, bad
}

// parseNodeNetwork parses the NodeNetwork of a Node, which is zero when the Node is gone.
func parseNodeNetwork(nn *v1alpha1.NodeNetwork, node plan.Node) plan.NodeNetwork {
	out := plan.NodeNetwork{
		Name: nn.Name, NodeUID: nn.Spec.NodeUID, Bridge: nn.Spec.CNI.Bridge, Transmit: nn.Spec.Transmit,
		Teardown: nn.Spec.Teardown == v1alpha1.TeardownRequested, Leader: nn.Annotations[v1alpha1.LeaderAnnotation],
		Report: parseReport(nn, node),
	}
	out.VTEP, _ = network.ParseMAC(nn.Spec.VTEPMAC)
	for _, s := range nn.Spec.Subnets {
		if p, err := network.ParsePrefix(s.Subnet); err == nil {
			out.Subnets = append(out.Subnets, plan.Subnet{Prefix: p, State: s.State})
		}
	}
	for _, cidr := range nn.Spec.PodNetworks {
		if p, err := network.ParsePrefix(cidr); err == nil {
			out.Networks = append(out.Networks, p)
		}
	}
	for _, r := range nn.Spec.Revisions {
		if b, err := network.BackendFromAPI(r.Backend); err == nil {
			out.Revisions = append(out.Revisions, plan.Revision{ID: r.ID, Backend: b, MTU: int(r.MTU)})
		}
	}
	return out
}

// parseReport says what the report of a Node's agent is worth. What an agent said before the machine's last boot speaks of a
// kernel that is gone: it has no device and no route of what the report claims.
func parseReport(nn *v1alpha1.NodeNetwork, node plan.Node) plan.Report {
	s := nn.Status
	sameNode := node.UID != "" && s.NodeUID == node.UID && nn.Spec.NodeUID == node.UID
	sameBoot := node.BootID == "" || s.BootID == node.BootID
	out := plan.Report{
		Known:    sameNode && sameBoot,
		Current:  s.ObservedGeneration >= nn.Generation,
		Prepared: s.PreparedRevisions, Transmit: s.TransmitRevision,
	}
	if f := s.FailedRevision; f != nil {
		out.Failed, out.FailedPeers = f.Revision, f.Failing
	}
	if len(s.Verifications) > 0 {
		out.Verifications = make(map[string]v1alpha1.Verification, len(s.Verifications))
		for _, v := range s.Verifications {
			out.Verifications[v.Revision] = v
		}
	}
	for _, a := range s.PublicIPs {
		if addr, err := netip.ParseAddr(a); err == nil && addr.IsGlobalUnicast() && addr.Zone() == "" {
			out.PublicIPs = append(out.PublicIPs, addr.Unmap())
		}
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); c != nil {
		out.Word, out.Reason, out.Message = string(c.Status), c.Reason, c.Message
		out.Ready = c.Status == metav1.ConditionTrue
		out.CleanedUp = c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonCleanedUp
	}
	return out
}

func parseLease(p netip.Prefix, l *v1alpha1.SubnetLease) plan.Lease {
	out := plan.Lease{
		Prefix: p, Node: l.Spec.NodeName, Created: l.CreationTimestamp.Time,
		Held:     hasFinalizer(l, v1alpha1.LeaseFinalizer),
		Adopted:  l.Annotations[v1alpha1.AdoptedAnnotation] == "true",
		Reserved: l.Annotations[v1alpha1.ReservedAnnotation] == "true",
		Deleting: !l.DeletionTimestamp.IsZero(),
		Endpoint: plan.Endpoint{Backend: l.Status.BackendType},
	}
	if l.Status.ReleasedAt != nil {
		out.ReleasedAt = l.Status.ReleasedAt.Time
	}
	for _, a := range []string{l.Status.PublicIP, l.Status.PublicIPv6} {
		if addr, err := netip.ParseAddr(a); err == nil {
			out.Endpoint.PublicIPs = append(out.Endpoint.PublicIPs, addr)
		}
	}
	out.Endpoint.VTEP, _ = network.ParseMAC(l.Status.BackendData.VTEPMAC)
	out.Published = meta.IsStatusConditionTrue(l.Status.Conditions, v1alpha1.ConditionReady) && len(out.Endpoint.PublicIPs) > 0
	return out
}
