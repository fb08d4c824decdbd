package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Fence keeps a controller that was elected once, slept, and does not know that another one was elected since, from writing
// NodeNetworks. The zero value is for a controller that runs without an election: no other one can exist.
type Fence struct {
	// Identity is the holder identity of this process in the election, different for every process that ever was.
	Identity string
	// Lease is the election's.
	Lease types.NamespacedName
}

// errDeposed says that another controller was elected.
var errDeposed = errors.New("another controller holds the election")

// holds reads the election's Lease from the API server. The error is errDeposed when somebody else holds it.
func (f Fence) holds(ctx context.Context, live client.Reader) error {
	lease := &coordinationv1.Lease{}
	if err := live.Get(ctx, f.Lease, lease); err != nil {
		return fmt.Errorf("read election lease %s: %w", f.Lease, err)
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	if holder != f.Identity {
		return fmt.Errorf("%w: lease %s names %q, this is %q", errDeposed, f.Lease, holder, f.Identity)
	}
	return nil
}

// mine says that the NodeNetwork may be written without asking who is elected. The write is conditional on the version that
// was read, and a successor would have changed it.
func (p *pass) mine(nn *v1alpha1.NodeNetwork) bool {
	return p.r.Fence.Identity == "" || nn.Annotations[v1alpha1.LeaderAnnotation] == p.r.Fence.Identity
}

// elected asks who holds the election, once in a pass, and after the pass has read its objects: what a successor wrote before
// the answer makes a write of the version read before it fail.
func (p *pass) elected(ctx context.Context) error {
	p.election.once.Do(func() {
		p.election.err = p.r.Fence.holds(ctx, p.r.Live)
		if errors.Is(p.election.err, errDeposed) {
			p.deposed.Store(true)
		}
	})
	return p.election.err
}

// claim puts the own identity on a NodeNetwork that is about to be written.
func (p *pass) claim(ctx context.Context, nn *v1alpha1.NodeNetwork) error {
	if p.mine(nn) {
		return nil
	}
	if err := p.elected(ctx); err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&nn.ObjectMeta, v1alpha1.LeaderAnnotation, p.r.Fence.Identity)
	return nil
}

// stamp puts the own identity on every NodeNetwork before the first step that takes a path away or moves a node: from then on
// all that an earlier leader still has under way was planned from versions that are gone. That step is for the next pass.
func (p *pass) stamp(ctx context.Context) {
	if !p.step.Fence {
		return
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.snap.nodeNetworks)) {
		if !p.mine(p.snap.nodeNetworks[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	p.again = true
	before := len(p.errs)
	each(ctx, p, names, func(ctx context.Context, name string) error {
		return p.updateNodeNetwork(ctx, p.snap.nodeNetwork(name).DeepCopy())
	})
	if len(p.errs) == before {
		p.log(ctx).Info("Took over NodeNetworks", keyAdded, len(names))
	}
}
