package controllers

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// hold puts the finalizer on the NetworkConfig before anything depends on it. It returns false when the pass must not go on.
func (p *pass) hold(ctx context.Context) bool {
	config := p.snap.config
	if !config.DeletionTimestamp.IsZero() || hasFinalizer(config, v1alpha1.ConfigFinalizer) {
		return p.remember(ctx)
	}
	held := config.DeepCopy()
	controllerutil.AddFinalizer(held, v1alpha1.ConfigFinalizer)
	if err := p.patchConfig(ctx, held); err != nil {
		p.fail(fmt.Errorf("put the finalizer on networkconfig %s: %w", config.Name, err))
		return false
	}
	return p.remember(ctx)
}

// remember records a configuration that was just accepted before it is acted upon: if a later spec is refused, this is the one
// that stays.
func (p *pass) remember(ctx context.Context) bool {
	want := p.inEffect().Effective()
	if p.refusal != nil || p.snap.config.Status.Effective != nil && sameSpec(*p.snap.config.Status.Effective, want) {
		return true
	}
	p.log(ctx).Info("Accepted configuration", keyNetworkConfig, p.snap.config.Name)
	before := len(p.errs)
	p.report(ctx)
	return len(p.errs) == before
}

// patchConfig writes metadata only, of the version that was read.
func (p *pass) patchConfig(ctx context.Context, changed *v1alpha1.NetworkConfig) error {
	patch := client.MergeFromWithOptions(p.snap.config, client.MergeFromWithOptimisticLock{})
	if err := p.r.Client.Patch(ctx, changed, patch); err != nil {
		return err
	}
	p.wrote(kindNetworkConfig, "update", changed)
	p.snap.config = changed
	return nil
}

// removing says that the network goes: its NetworkConfig is deleted, and either no node uses it or the user has confirmed.
func (p *pass) removing() bool {
	return !p.snap.config.DeletionTimestamp.IsZero() && (len(p.teardown.InUse) == 0 || p.confirmed())
}

func (p *pass) confirmed() bool {
	return p.snap.config.Annotations[v1alpha1.TeardownAnnotation] == v1alpha1.TeardownConfirmed
}

// remove takes the network down: agents first, then leases, NodeNetworks, and the NetworkConfig last, which is what a pass that
// died in between leaves to go on from.
func (p *pass) remove(ctx context.Context) {
	if len(p.teardown.InUse) > 0 {
		if p.effective != nil && len(p.teardown.Lost) > 0 {
			p.renderAll(ctx, p.teardown.Lost, p.leases.Subnets, p.vteps())
		}
		each(ctx, p, slices.Sorted(maps.Keys(p.snap.nodeNetworks)), p.askCleanUp)
		if !p.teardown.Clean() || len(p.errs) > 0 {
			return
		}
	}
	if len(p.teardown.Skipped) > 0 {
		p.event(p.snap.config, p.snap.config.Name, "skipped", corev1.EventTypeWarning, "NodesNotCleanedUp", "Teardown", fmt.Sprintf(
			"nodes that are not ready were not waited for; what hopsack made stays on them until `hopsack-agent cleanup` is run there: %s",
			strings.Join(p.teardown.Skipped, ", ")))
	}
	var drop, unhold []netip.Prefix
	for prefix, l := range p.snap.leases {
		switch {
		case !hasFinalizer(l, v1alpha1.LeaseFinalizer):
		case l.Annotations[v1alpha1.ReservedAnnotation] == "true" && l.DeletionTimestamp.IsZero():
			unhold = append(unhold, prefix)
		default:
			drop = append(drop, prefix)
		}
	}
	each(ctx, p, drop, p.deleteLease)
	each(ctx, p, unhold, p.unholdLease)
	p.tellNodes(ctx) // who cleaned up last has not been heard of on its Node yet, and its word goes with its NodeNetwork
	if len(p.errs) > 0 {
		return // NodeNetworks say who has cleaned up, so they outlive the leases
	}
	each(ctx, p, slices.Sorted(maps.Keys(p.snap.nodeNetworks)), p.deleteNodeNetwork)
	if len(p.errs) > 0 || !hasFinalizer(p.snap.config, v1alpha1.ConfigFinalizer) {
		return
	}
	gone := p.snap.config.DeepCopy()
	controllerutil.RemoveFinalizer(gone, v1alpha1.ConfigFinalizer)
	p.log(ctx).Info("Removed network", keyNetworkConfig, gone.Name, keyDeleted, len(drop))
	if err := p.patchConfig(ctx, gone); client.IgnoreNotFound(err) != nil {
		p.fail(fmt.Errorf("take the finalizer off networkconfig %s: %w", gone.Name, err))
	}
}

// askCleanUp has a node's agent remove what it made.
func (p *pass) askCleanUp(ctx context.Context, name string) error {
	if p.snap.nodes[name] == nil {
		return nil
	}
	spec := p.snap.nodeNetwork(name).Spec.DeepCopy()
	spec.Teardown = v1alpha1.TeardownRequested
	return p.writeNodeNetwork(ctx, name, *spec)
}
