package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/endpoints"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
)

// release lets go of what gone nodes had: leases are marked, or deleted after their time, then NodeNetworks go.
func (p *pass) release(ctx context.Context) {
	each(ctx, p, p.leases.Release, p.releaseLease)
	for _, r := range p.leases.Recycled {
		message := fmt.Sprintf("%s waited for node %s and goes to node %s: nothing else is free", r.Prefix, r.From, r.To)
		p.r.Events.Eventf(p.snap.leases[r.Prefix], p.snap.nodes[r.To], corev1.EventTypeWarning, "SubnetRecycled", "Recycle", "%s", message)
		p.log(ctx).Info("Recycled subnet", keyPrefix, r.Prefix, keyNode, r.To, keyPeer, r.From)
	}
	each(ctx, p, p.leases.Delete, p.deleteLease)
	each(ctx, p, p.leases.Unhold, p.unholdLease)
	each(ctx, p, p.leases.Gone, p.deleteNodeNetwork)
}

func (p *pass) releaseLease(ctx context.Context, prefix netip.Prefix) error {
	l := p.snap.leases[prefix]
	p.log(ctx).Info("Releasing lease", keyLease, l.Name, keyNode, l.Spec.NodeName, keyReason, "node is gone")
	at := metav1.NewTime(p.now).Rfc3339Copy()
	return p.setLeaseStatus(ctx, prefix, v1alpha1.SubnetLeaseStatus{ReleasedAt: &at}, endpoints.State{
		Reason: v1alpha1.ReasonReleased, Message: p.leases.States[prefix].Message,
	})
}

// deleteLease deletes the version of the lease that was planned from. The finalizer goes last: a pass that dies in between
// leaves a lease that is being deleted, which the next one takes for what it is.
func (p *pass) deleteLease(ctx context.Context, prefix netip.Prefix) error {
	l := p.snap.leases[prefix].DeepCopy()
	p.log(ctx).Info("Deleting lease", keyLease, l.Name, keyNode, l.Spec.NodeName)
	if l.DeletionTimestamp.IsZero() {
		err := p.r.Client.Delete(ctx, l, client.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete lease %s: %w", l.Name, err)
		}
		if err == nil && len(l.Finalizers) > 0 {
			// The deletion wrote a new version, and nobody but the owner of the precondition can have made it.
			if err := p.r.Live.Get(ctx, client.ObjectKeyFromObject(l), l); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("read lease %s: %w", l.Name, err)
			}
		}
	}
	if !l.DeletionTimestamp.IsZero() && controllerutil.RemoveFinalizer(l, v1alpha1.LeaseFinalizer) {
		if err := p.r.Client.Update(ctx, l); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("take the finalizer off lease %s: %w", l.Name, err)
		}
	}
	p.wrote(kindSubnetLease, "delete", l)
	p.snap.dropLease(prefix)
	return nil
}

func (s *snapshot) dropLease(prefix netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, prefix)
}

func (s *snapshot) putLease(prefix netip.Prefix, l *v1alpha1.SubnetLease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[prefix] = l
}

func (s *snapshot) lease(prefix netip.Prefix) *v1alpha1.SubnetLease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[prefix]
}

// unholdLease gives a reservation back to its user.
func (p *pass) unholdLease(ctx context.Context, prefix netip.Prefix) error {
	l := p.snap.lease(prefix).DeepCopy()
	controllerutil.RemoveFinalizer(l, v1alpha1.LeaseFinalizer)
	if err := p.r.Client.Update(ctx, l); err != nil {
		return fmt.Errorf("take the finalizer off lease %s: %w", l.Name, err)
	}
	p.wrote(kindSubnetLease, "update", l)
	p.snap.putLease(prefix, l)
	return nil
}

// takeLease is step 2 of an allocation: the lease's name is the lock per subnet.
func (p *pass) takeLease(ctx context.Context, t leases.Take) error {
	if !t.Exists {
		return p.createLease(ctx, t)
	}
	l := p.snap.lease(t.Prefix).DeepCopy()
	changed := l.DeletionTimestamp.IsZero() && controllerutil.AddFinalizer(l, v1alpha1.LeaseFinalizer)
	if mark(l, t) || changed {
		if err := p.r.Client.Update(ctx, l); err != nil {
			return fmt.Errorf("take up lease %s: %w", l.Name, err)
		}
		p.wrote(kindSubnetLease, "update", l)
		p.snap.putLease(t.Prefix, l)
	}
	if l.Status.ReleasedAt != nil {
		// Before it is bound, so that a controller that still believes the node gone cannot delete the version it knows.
		p.log(ctx).Info("Returning lease to its node", keyLease, l.Name, keyNode, t.Node)
		return p.setLeaseStatus(ctx, t.Prefix, v1alpha1.SubnetLeaseStatus{}, endpoints.State{
			Reason: v1alpha1.ReasonPending, Message: fmt.Sprintf("node %s is back", t.Node),
		})
	}
	return nil
}

// mark sets the annotations that say where a lease comes from.
func mark(l *v1alpha1.SubnetLease, t leases.Take) bool {
	changed := false
	for annotation, want := range map[string]bool{v1alpha1.AdoptedAnnotation: t.Adopted, v1alpha1.ReservedAnnotation: t.Reserved} {
		if want && l.Annotations[annotation] != "true" {
			metav1.SetMetaDataAnnotation(&l.ObjectMeta, annotation, "true")
			changed = true
		}
	}
	return changed
}

func (p *pass) createLease(ctx context.Context, t leases.Take) error {
	l := &v1alpha1.SubnetLease{
		ObjectMeta: metav1.ObjectMeta{Name: network.LeaseName(t.Prefix), Finalizers: []string{v1alpha1.LeaseFinalizer}},
		Spec:       v1alpha1.SubnetLeaseSpec{Subnet: t.Prefix.String(), NodeName: t.Node},
	}
	mark(l, t)
	err := p.r.Client.Create(ctx, l)
	if apierrors.IsAlreadyExists(err) {
		// Made by a pass that died, or by somebody else. In the first case it is ours to bind, in the second the next pass sees
		// it and chooses again.
		if err := p.r.Live.Get(ctx, client.ObjectKeyFromObject(l), l); err != nil {
			return fmt.Errorf("read lease %s: %w", l.Name, err)
		}
		if l.Spec.NodeName != t.Node || !hasFinalizer(l, v1alpha1.LeaseFinalizer) || l.Status.ReleasedAt != nil {
			return fmt.Errorf("create lease %s: %w", l.Name, err)
		}
		p.snap.putLease(t.Prefix, l)
		return nil
	}
	if err != nil {
		return fmt.Errorf("create lease %s: %w", l.Name, err)
	}
	p.wrote(kindSubnetLease, "create", l)
	p.snap.putLease(t.Prefix, l)
	return nil
}

// liveLeases lists the names of all leases from the API server: step 3 of an allocation.
func (p *pass) liveLeases(ctx context.Context) ([]netip.Prefix, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SubnetLeaseList"))
	if err := p.r.Live.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list leases live: %w", err)
	}
	out := make([]netip.Prefix, 0, len(list.Items))
	for _, item := range list.Items {
		if prefix, err := network.ParseLeaseName(item.Name); err == nil {
			out = append(out, prefix)
		}
	}
	return out, nil
}

// publish brings every lease's status up to date.
func (p *pass) publish(ctx context.Context) {
	if len(p.writes) > 0 {
		p.cluster = p.snap.cluster()
	}
	p.endpoints = endpoints.Make(endpoints.Input{
		Cluster: p.cluster, Interface: p.effective.Interface, Backend: p.inEffect().Backend.Type,
		Settled: len(p.step.Revisions) == 1, Admit: p.step.Admit,
	})
	var prefixes []netip.Prefix
	for prefix := range p.snap.leases {
		prefixes = append(prefixes, prefix)
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	each(ctx, p, prefixes, p.publishLease)
}

func (p *pass) publishLease(ctx context.Context, prefix netip.Prefix) error {
	l := p.snap.lease(prefix)
	if s, ok := p.endpoints.Leases[prefix]; ok {
		return p.setLeaseStatus(ctx, prefix, endpointStatus(s.Endpoint, s.Published), s)
	}
	s, ok := p.leases.States[prefix]
	if !ok {
		s = plan.Problem{Reason: v1alpha1.ReasonPending, Message: "held for node " + l.Spec.NodeName}
	}
	status := v1alpha1.SubnetLeaseStatus{}
	switch s.Reason {
	case v1alpha1.ReasonPending:
	case v1alpha1.ReasonReleased:
		if status.ReleasedAt = l.Status.ReleasedAt; status.ReleasedAt == nil {
			return nil // releasing it has failed in this pass
		}
	default:
		p.event(l, l.Name, "state", corev1.EventTypeWarning, s.Reason, "Bind", s.Message)
	}
	return p.setLeaseStatus(ctx, prefix, status, endpoints.State{Reason: s.Reason, Message: s.Message})
}

// endpointStatus prints an endpoint. What is not published is not shown.
func endpointStatus(e plan.Endpoint, published bool) v1alpha1.SubnetLeaseStatus {
	if !published {
		return v1alpha1.SubnetLeaseStatus{}
	}
	out := v1alpha1.SubnetLeaseStatus{BackendType: e.Backend, BackendData: v1alpha1.BackendData{VTEPMAC: e.VTEP.String()}}
	for _, a := range e.PublicIPs {
		if a.Is4() {
			out.PublicIP = a.String()
		} else {
			out.PublicIPv6 = a.String()
		}
	}
	return out
}

// setLeaseStatus writes a lease's status if it differs.
func (p *pass) setLeaseStatus(ctx context.Context, prefix netip.Prefix, status v1alpha1.SubnetLeaseStatus, s endpoints.State) error {
	before := p.snap.lease(prefix)
	l := before.DeepCopy()
	status.Conditions = l.Status.Conditions
	l.Status = status
	ready := metav1.ConditionFalse
	if s.Published {
		ready = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&l.Status.Conditions, p.condition(v1alpha1.ConditionReady, ready, l.Generation, s.Reason, s.Message))
	if sameSpec(before.Status, l.Status) {
		return nil
	}
	if err := p.r.Client.Status().Update(ctx, l); err != nil {
		return fmt.Errorf("update status of lease %s: %w", l.Name, err)
	}
	p.wrote(kindSubnetLease, "status", l)
	p.snap.putLease(prefix, l)
	return nil
}
