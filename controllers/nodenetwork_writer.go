package controllers

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
	"github.com/hopsack-net/hopsack/internal/plan/nodespec"
)

// fieldManager owns the controller's condition in a NodeNetwork's status.
const fieldManager = "hopsack-controller"

// allocate renders every NodeNetwork and takes the subnets that are missing, all nodes together: intents, leases, one live
// list, bound subnets.
func (p *pass) allocate(ctx context.Context) {
	macs := p.vteps()
	subnets := maps.Clone(p.leases.Subnets)
	failed := p.renderAll(ctx, slices.Sorted(maps.Keys(p.snap.nodes)), subnets, macs)

	// A node whose intent is not recorded has no lock, and must not take a lease.
	takes := slices.DeleteFunc(slices.Clone(p.leases.Take), func(t leases.Take) bool { return failed[t.Node] })
	if len(takes) == 0 {
		return
	}
	each(ctx, p, takes, p.takeLease)
	live, err := p.liveLeases(ctx)
	if err != nil {
		p.fail(err)
		return
	}
	bind, lost := leases.Settle(takes, live)
	for _, l := range lost {
		p.again = true // the next pass drops the lease, or says what is in its way
		p.log(ctx).Info("Lost subnet", keyNode, l.Node, keyPrefix, l.Prefix, keyPeer, l.Other)
	}
	changed := map[string]bool{}
	for _, t := range bind {
		// Only what this pass made sure of: takeLease may have found the lease to be another node's.
		if l := p.snap.lease(t.Prefix); l != nil && l.Spec.NodeName == t.Node && hasFinalizer(l, v1alpha1.LeaseFinalizer) && l.Status.ReleasedAt == nil {
			subnets[t.Node] = setState(subnets[t.Node], t.Prefix)
			changed[t.Node] = true
		}
	}
	p.renderAll(ctx, slices.Sorted(maps.Keys(changed)), subnets, macs)
	p.log(ctx).Info("Bound subnets", keyAdded, len(bind))
}

// setState returns the subnets with an intended one bound.
func setState(in []plan.Subnet, prefix netip.Prefix) []plan.Subnet {
	out := slices.Clone(in)
	for i := range out {
		if out[i].Prefix == prefix && out[i].State == v1alpha1.SubnetIntended {
			out[i].State = v1alpha1.SubnetBound
		}
	}
	return out
}

// vteps gives every node its VTEP MAC: the one it has, else the one its lease still publishes, else a new one.
func (p *pass) vteps() map[string]network.MAC {
	recorded := make(map[string]network.MAC, len(p.cluster.Nodes))
	for name := range p.cluster.Nodes {
		recorded[name] = p.cluster.NodeNetworks[name].VTEP
	}
	for _, l := range p.cluster.Leases {
		if m, ok := recorded[l.Node]; ok && m == (network.MAC{}) && l.Published {
			recorded[l.Node] = l.Endpoint.VTEP
		}
	}
	return nodespec.AssignMACs(recorded)
}

// renderAll writes the NodeNetworks of the named nodes that are not as they should be, and returns those it failed for.
func (p *pass) renderAll(ctx context.Context, names []string, subnets map[string][]plan.Subnet, macs map[string]network.MAC) map[string]bool {
	failed := map[string]bool{}
	each(ctx, p, names, func(ctx context.Context, name string) error {
		spec := nodespec.Render(nodespec.Input{
			Config: *p.effective, Step: p.step, Node: p.cluster.Nodes[name], Subnets: subnets[name],
			VTEP: macs[name], Check: checkRequest(p.snap.config),
		})
		err := p.writeNodeNetwork(ctx, name, spec)
		if err != nil {
			p.mu.Lock()
			failed[name] = true
			p.mu.Unlock()
		}
		return err
	})
	return failed
}

// writeNodeNetwork makes the NodeNetwork, or updates the version that was planned from: its name is the lock per node.
func (p *pass) writeNodeNetwork(ctx context.Context, name string, spec v1alpha1.NodeNetworkSpec) error {
	before := p.snap.nodeNetwork(name)
	if before == nil {
		nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		if err := p.claim(ctx, nn); err != nil {
			return fmt.Errorf("create nodenetwork %s: %w", name, err)
		}
		if err := p.r.Client.Create(ctx, nn); err != nil {
			return fmt.Errorf("create nodenetwork %s: %w", name, err)
		}
		p.wrote(kindNodeNetwork, "create", nn)
		p.snap.putNodeNetwork(nn)
		return nil
	}
	if sameSpec(before.Spec, spec) {
		return nil
	}
	nn := before.DeepCopy()
	nn.Spec = spec
	return p.updateNodeNetwork(ctx, nn)
}

// updateNodeNetwork is the only way to change a NodeNetwork: of the version the pass has read, and within the fence.
func (p *pass) updateNodeNetwork(ctx context.Context, nn *v1alpha1.NodeNetwork) error {
	if err := p.claim(ctx, nn); err != nil {
		return fmt.Errorf("update nodenetwork %s: %w", nn.Name, err)
	}
	if err := p.r.Client.Update(ctx, nn); err != nil {
		return fmt.Errorf("update nodenetwork %s: %w", nn.Name, err)
	}
	p.wrote(kindNodeNetwork, "update", nn)
	p.snap.putNodeNetwork(nn)
	return nil
}

func (p *pass) deleteNodeNetwork(ctx context.Context, name string) error {
	nn := p.snap.nodeNetwork(name)
	if err := p.claim(ctx, nn.DeepCopy()); err != nil {
		return fmt.Errorf("delete nodenetwork %s: %w", name, err)
	}
	p.log(ctx).Info("Deleting NodeNetwork", keyNode, name)
	err := p.r.Client.Delete(ctx, nn, client.Preconditions{UID: &nn.UID, ResourceVersion: &nn.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete nodenetwork %s: %w", name, err)
	}
	p.wrote(kindNodeNetwork, "delete", nn)
	p.snap.mu.Lock()
	defer p.snap.mu.Unlock()
	delete(p.snap.nodeNetworks, name)
	return nil
}

func (s *snapshot) nodeNetwork(name string) *v1alpha1.NodeNetwork {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodeNetworks[name]
}

func (s *snapshot) putNodeNetwork(nn *v1alpha1.NodeNetwork) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodeNetworks[nn.Name] = nn
}

// tellNodes brings the condition SubnetsAssigned of every NodeNetwork, and NetworkUnavailable of every Node, up to date.
func (p *pass) tellNodes(ctx context.Context) {
	var names []string
	for name := range p.snap.nodes {
		if p.snap.nodeNetworks[name] != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if p.effective != nil && !p.removing() {
		each(ctx, p, names, p.tellAssigned)
	}
	each(ctx, p, names, p.tellNode)
}

// assigned is the condition SubnetsAssigned of a node.
func (p *pass) assigned(name string) (metav1.ConditionStatus, plan.Problem) {
	if problem, ok := p.leases.Problems[name]; ok {
		return metav1.ConditionFalse, problem
	}
	if problem, ok := p.endpoints.Problems[name]; ok {
		return metav1.ConditionFalse, problem
	}
	var have []string
	for _, s := range p.cluster.NodeNetworks[name].Subnets {
		if s.InUse() {
			have = append(have, s.Prefix.String())
		}
	}
	if len(have) == 0 {
		return metav1.ConditionFalse, plan.Problem{Reason: v1alpha1.ReasonPending, Message: "a subnet is being chosen"}
	}
	message := strings.Join(have, ", ")
	if _, bad := publicIPs(p.snap.nodes[name]); len(bad) > 0 {
		message += fmt.Sprintf("; annotation %s: %q is ignored: it takes one unicast address per family", v1alpha1.PublicIPAnnotation, strings.Join(bad, ","))
	}
	for _, cidr := range p.cluster.Nodes[name].PodCIDRs {
		r, ok := p.effective.RangeOf(cidr)
		if ok && p.effective.PodCIDRs == v1alpha1.PodCIDRsAuto && !slices.Contains(have, cidr.String()) {
			if leases.Adoptable(r, cidr) {
				message += fmt.Sprintf("; podCIDR %s came too late to be adopted", cidr)
			} else {
				message += fmt.Sprintf("; podCIDR %s does not fit into network %s and is not adopted", cidr, r.Network)
			}
		}
	}
	return metav1.ConditionTrue, plan.Problem{Reason: v1alpha1.ReasonAssigned, Message: message}
}

// tellAssigned applies the controller's one condition server-side, so that it and the agent never overwrite each other.
func (p *pass) tellAssigned(ctx context.Context, name string) error {
	nn := p.snap.nodeNetwork(name)
	status, problem := p.assigned(name)
	have := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionSubnetsAssigned)
	if have != nil && have.Status == status && have.Reason == problem.Reason && have.Message == clip(problem.Message, 32000) {
		return nil // the generation it speaks of is left behind on purpose: that alone is not worth a write per node
	}
	c := p.condition(v1alpha1.ConditionSubnetsAssigned, status, nn.Generation, problem.Reason, problem.Message)
	if have != nil && have.Status == status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	apply := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": name, "uid": string(nn.UID)}, // the uid keeps it from touching a namesake
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": c.Message,
			"observedGeneration": c.ObservedGeneration, "lastTransitionTime": c.LastTransitionTime.UTC().Format("2006-01-02T15:04:05Z"),
		}}},
	}}
	apply.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("NodeNetwork"))
	if err := p.r.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(apply), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply condition of nodenetwork %s: %w", name, err)
	}
	p.wrote(kindNodeNetwork, "status", apply)
	if status == metav1.ConditionFalse && problem.Reason != v1alpha1.ReasonWaitingForPodCIDR && problem.Reason != v1alpha1.ReasonPending {
		p.event(nn, name, "assigned", corev1.EventTypeWarning, problem.Reason, "Assign", problem.Message)
	} else if status == metav1.ConditionTrue {
		p.event(nn, name, "assigned", corev1.EventTypeNormal, problem.Reason, "Assign", problem.Message)
	}
	return nil
}
