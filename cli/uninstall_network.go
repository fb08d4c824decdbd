package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// removeNetwork has agents clean their nodes and the objects go. The controller does it; what it has not begun after a while is
// done from here in the same order, so that it does not matter who is still there.
func (u *uninstall) removeNetwork(ctx context.Context, r *remains) error {
	users := r.inUse()
	u.users = len(users)
	if r.config != nil {
		if err := u.confirm(ctx, r.config); err != nil {
			return err
		}
	}
	if err := u.await(ctx, r); err != nil {
		return err
	}
	r, err := look(ctx, u.c)
	if err != nil {
		return err
	}
	var left, unexpected []string
	for _, n := range users {
		node := r.nodes[n.name]
		if node == nil || u.clean[n.name] {
			continue
		}
		if toldClean(node) { // the last word of its NodeNetwork, which went before it was seen here
			u.confirmed(n.name)
			continue
		}
		left = append(left, n.name)
		if n.ready {
			unexpected = append(unexpected, n.name)
		}
	}
	if len(left) > 0 {
		u.printf("not confirmed to be clean: %s; run %q there", strings.Join(left, ", "), cleanupCommand)
	}
	if len(unexpected) > 0 && !u.force {
		return exitWith(ExitFailed, "%s: not Ready any more, and so not cleaned; the network is gone, the manifests are still there: run this again to remove them",
			firstNames(unexpected))
	}
	return nil
}

// await waits until nothing of the network is left.
func (u *uninstall) await(ctx context.Context, r *remains) error {
	uid := configUID(r)
	var quiet quiet
	var released time.Time
	for {
		if now := configUID(r); now != "" && now != uid {
			return exitWith(ExitFailed, "somebody made a new networkconfig %s while the old one went (a GitOps tool?): remove it there first, then run this again", r.config.Name)
		}
		waiting := u.tell(r)
		over := time.Now().After(u.deadline) || r.mute()
		idle := quiet.lasts(r, waiting) > u.patience || r.config == nil
		switch {
		case r.nothing():
			return nil
		case !released.IsZero() && time.Since(released) > u.patience:
			return u.late(nil)
		case len(waiting) == 0 && idle, over && u.force:
			if len(waiting) > 0 && released.IsZero() {
				u.printf("no word from %s: going on without", firstNames(waiting))
			}
			if err := u.release(ctx, r); err != nil {
				return err
			}
			if released.IsZero() {
				released = time.Now()
			}
		case over:
			return u.late(waiting)
		case idle:
			if err := u.ask(ctx, r); err != nil {
				return err
			}
		}
		next, err := u.lookAgain(ctx, len(r.nodes))
		if err != nil {
			return err
		}
		r = next
	}
}

// tell says which agents are done and returns the nodes that are still waited for.
func (u *uninstall) tell(r *remains) (waiting []string) {
	users := r.inUse()
	for _, n := range users {
		if n.clean && !u.clean[n.name] {
			u.confirmed(n.name)
		}
	}
	return pick(users, func(n nodeUse) bool { return !n.clean && (n.ready || !u.skipNotReady) })
}

// configUID tells one NetworkConfig from the next; "" where there is none.
func configUID(r *remains) types.UID {
	if r.config == nil {
		return ""
	}
	return r.config.UID
}

func (u *uninstall) confirmed(node string) {
	u.clean[node] = true
	u.printf("%s %s (%d of %d)", node, v1alpha1.ReasonCleanedUp, len(u.clean), max(u.users, len(u.clean)))
}

// quiet measures how long the controller has not done what is its turn.
type quiet struct {
	since time.Time
	seen  string
}

func (q *quiet) lasts(r *remains, waiting []string) time.Duration {
	unasked := pick(r.inUse(), func(n nodeUse) bool { return !n.asked && !n.clean && slices.Contains(waiting, n.name) })
	theirs := len(waiting) > 0 && len(unasked) == 0 // it is the agents' turn
	seen := fmt.Sprint(waiting, unasked, len(r.leases), len(r.networks))
	if theirs || seen != q.seen {
		q.since, q.seen = time.Now(), seen
	}
	return time.Since(q.since)
}

// lookAgain reads what is left after a pause that grows with the cluster. An API server that is away for a moment is waited for.
func (u *uninstall) lookAgain(ctx context.Context, nodes int) (*remains, error) {
	pause := 300*time.Millisecond + time.Duration(nodes)*10*time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		r, err := look(ctx, u.c)
		if err == nil || !retriable(err) || time.Now().After(u.deadline) {
			return r, err
		}
	}
}

// ask has the agents clean up, which is the controller's to do.
func (u *uninstall) ask(ctx context.Context, r *remains) error {
	asked := 0
	for _, n := range r.inUse() {
		nn := r.networks[n.name]
		if n.asked || nn == nil {
			continue
		}
		before := nn.DeepCopy()
		nn.Spec.Teardown = v1alpha1.TeardownRequested
		err := u.c.Patch(ctx, nn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner))
		if err != nil && !passes(err) {
			return explain(err, "ask the agent of "+n.name+" to clean up")
		}
		asked++
	}
	if asked > 0 {
		u.printf("the controller does nothing: asked %s directly", plural(asked, "agent"))
	}
	return nil
}

// release takes away the objects of the network, in the controller's order: the NetworkConfig is what a run that ends in between
// leaves to go on from.
func (u *uninstall) release(ctx context.Context, r *remains) error {
	for i := range r.leases {
		l := &r.leases[i]
		if err := u.drop(ctx, l, v1alpha1.LeaseFinalizer, reserved(l)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.networks)) {
		if err := u.drop(ctx, r.networks[name], "", false); err != nil {
			return err
		}
	}
	if r.config == nil {
		return nil
	}
	return u.drop(ctx, r.config, v1alpha1.ConfigFinalizer, false)
}

// drop deletes the object unless it is to stay, and takes our finalizer off; other programs' finalizers are theirs.
func (u *uninstall) drop(ctx context.Context, obj client.Object, finalizer string, stays bool) error {
	what := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1alpha1.") + " " + obj.GetName()
	if !stays && obj.GetDeletionTimestamp().IsZero() {
		uid := obj.GetUID()
		if err := u.c.Delete(ctx, obj, client.Preconditions{UID: &uid}); err != nil && !passes(err) {
			return explain(err, "delete "+what)
		}
	}
	if !slices.Contains(obj.GetFinalizers(), finalizer) {
		return nil
	}
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy %s: it is no object", what)
	}
	controllerutil.RemoveFinalizer(obj, finalizer)
	// The list of finalizers is replaced as a whole: the deletion above changed the version, so that compares the UID only.
	if err := u.c.Patch(ctx, obj, client.MergeFrom(before), client.FieldOwner(fieldOwner)); err != nil && !passes(err) {
		return explain(err, "take the finalizer off "+what)
	}
	u.printf("%s released", what)
	return nil
}

// late is what to say when time is over.
func (u *uninstall) late(waiting []string) error {
	if len(waiting) == 0 {
		return exitWith(ExitTimeout, "objects of the network are still in deletion: look at their finalizers (kubectl get hopsack -o yaml), and run this again to go on")
	}
	return exitWith(ExitTimeout, `no word within %s that %s cleaned: look at the agents ("kubectl get pods -A -o wide -l %s=%s,app.kubernetes.io/component=agent") and run this again; or --force-finalizers, and %q on %s`,
		u.timeout, firstNames(waiting)+map[bool]string{true: " is", false: " are"}[len(waiting) == 1], manifestLabel, manifestName, cleanupCommand, itOrThem(len(waiting)))
}
