package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// The CRDs, in the order in which they go.
const (
	nodeNetworksCRD   = "nodenetworks.net.hopsack.dev"
	subnetLeasesCRD   = "subnetleases.net.hopsack.dev"
	networkConfigsCRD = "networkconfigs.net.hopsack.dev"
)

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// remains is what is left of a network.
type remains struct {
	crds     []*metav1.PartialObjectMetadata // those that exist, in the order in which they go
	config   *v1alpha1.NetworkConfig         // nil: there is none
	networks map[string]*v1alpha1.NodeNetwork
	leases   []v1alpha1.SubnetLease
	nodes    map[string]*corev1.Node
}

// absent says that neither the object nor its kind is there.
func absent(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

// look reads what is left. Kinds that are not installed have no objects.
func look(ctx context.Context, c client.Client) (*remains, error) {
	r := &remains{networks: map[string]*v1alpha1.NodeNetwork{}, nodes: map[string]*corev1.Node{}}
	for _, name := range []string{nodeNetworksCRD, subnetLeasesCRD, networkConfigsCRD} {
		crd := &metav1.PartialObjectMetadata{}
		crd.SetGroupVersionKind(crdKind)
		switch err := c.Get(ctx, client.ObjectKey{Name: name}, crd); {
		case err == nil:
			r.crds = append(r.crds, crd)
		case !absent(err):
			return nil, fmt.Errorf("read CRD %s: %w", name, err)
		}
	}
	cfg := &v1alpha1.NetworkConfig{}
	switch err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.NetworkConfigName}, cfg); {
	case err == nil:
		r.config = cfg
	case !absent(err):
		return nil, fmt.Errorf("read networkconfig %s: %w", v1alpha1.NetworkConfigName, err)
	}
	var leases v1alpha1.SubnetLeaseList
	if err := c.List(ctx, &leases); err != nil && !absent(err) {
		return nil, fmt.Errorf("list subnetleases: %w", err)
	}
	r.leases = leases.Items
	var networks v1alpha1.NodeNetworkList
	if err := c.List(ctx, &networks); err != nil && !absent(err) {
		return nil, fmt.Errorf("list nodenetworks: %w", err)
	}
	for i := range networks.Items {
		r.networks[networks.Items[i].Name] = &networks.Items[i]
	}
	nodes, err := list(ctx, c, &corev1.NodeList{}, "nodes")
	if err != nil {
		return nil, err
	}
	for i := range nodes.Items {
		r.nodes[nodes.Items[i].Name] = &nodes.Items[i]
	}
	return r, nil
}

// nothing says that no object is left but reservations, which are users' own.
func (r *remains) nothing() bool {
	return r.config == nil && len(r.networks) == 0 && !slices.ContainsFunc(r.leases, func(l v1alpha1.SubnetLease) bool {
		return held(&l) || !reserved(&l)
	})
}

// mute says that agents cannot be asked, although there is a network.
func (r *remains) mute() bool {
	known := slices.ContainsFunc(r.crds, func(o *metav1.PartialObjectMetadata) bool { return o.Name == nodeNetworksCRD })
	return !known && len(r.inUse()) > 0
}

// reserved are the names of leases that users made.
func (r *remains) reserved() []string {
	var out []string
	for i := range r.leases {
		if l := &r.leases[i]; reserved(l) && l.DeletionTimestamp.IsZero() {
			out = append(out, l.Name)
		}
	}
	return out
}

func reserved(l *v1alpha1.SubnetLease) bool {
	return l.Annotations[v1alpha1.ReservedAnnotation] == "true" || len(l.Finalizers) == 0 && l.Status.PublicIP == "" && l.Status.PublicIPv6 == ""
}

func held(l *v1alpha1.SubnetLease) bool {
	return slices.Contains(l.Finalizers, v1alpha1.LeaseFinalizer)
}

// nodeUse is a node of the cluster that uses the network.
type nodeUse struct {
	name string
	// ready: its kubelet answers. asked: its agent was told to clean up. clean: it has said that it did.
	ready, asked, clean bool
}

// inUse are the nodes that use the network or have used it, by name. As the controller has it: a node without a subnet whose agent has
// never reported has nothing to clean. Where the NodeNetwork is gone, the lease tells.
func (r *remains) inUse() []nodeUse {
	leased := map[string]bool{}
	for i := range r.leases {
		if l := &r.leases[i]; held(l) && l.Status.ReleasedAt == nil {
			leased[l.Spec.NodeName] = true
		}
	}
	var out []nodeUse
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		node, nn := r.nodes[name], r.networks[name]
		use := nodeUse{name: name, ready: nodeSays(node, corev1.NodeReady).Status == corev1.ConditionTrue}
		switch {
		case nn != nil && (usesSubnet(nn) || nn.Status.NodeUID == string(node.UID)):
			use.asked = nn.Spec.Teardown == v1alpha1.TeardownRequested
			use.clean = use.asked && saysClean(nn, node)
		case nn == nil && leased[name]:
			use.clean = toldClean(node)
		default:
			continue
		}
		out = append(out, use)
	}
	return out
}

func usesSubnet(nn *v1alpha1.NodeNetwork) bool {
	return slices.ContainsFunc(nn.Spec.Subnets, func(s v1alpha1.NodeSubnet) bool { return s.State != v1alpha1.SubnetIntended })
}

// saysClean judges a report as the controller does: one about an older spec, another machine of that name or the time before a
// reboot says nothing about what is on the node now.
func saysClean(nn *v1alpha1.NodeNetwork, node *corev1.Node) bool {
	s := nn.Status
	if s.NodeUID != string(node.UID) || nn.Spec.NodeUID != string(node.UID) || s.ObservedGeneration < nn.Generation {
		return false
	}
	if boot := node.Status.NodeInfo.BootID; boot != "" && s.BootID != boot {
		return false
	}
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonCleanedUp
}

// toldClean says that the controller has passed the agent's word on to the Node, where it outlives the NodeNetwork.
func toldClean(node *corev1.Node) bool {
	c := nodeSays(node, corev1.NodeNetworkUnavailable)
	return c.Status == corev1.ConditionTrue && c.Reason == v1alpha1.ReasonCleanedUp
}

func nodeSays(node *corev1.Node, kind corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range node.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// pick returns the names of the nodes that f picks.
func pick(nodes []nodeUse, f func(nodeUse) bool) []string {
	var out []string
	for _, n := range nodes {
		if f(n) {
			out = append(out, n.name)
		}
	}
	return out
}

// countPods says how many pods lose their network, or that it cannot be known.
func countPods(ctx context.Context, c client.Reader) string {
	pods := &metav1.PartialObjectMetadataList{}
	total := 0
	for {
		pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		err := c.List(ctx, pods, client.Limit(500), client.Continue(pods.Continue), client.MatchingFieldsSelector{
			Selector: fields.ParseSelectorOrDie("spec.hostNetwork=false,spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed")})
		if err != nil {
			return "their pods lose the network (how many is not known: " + err.Error() + ")"
		}
		if total += len(pods.Items); pods.Continue == "" {
			return plural(total, "pod") + " without network"
		}
	}
}
