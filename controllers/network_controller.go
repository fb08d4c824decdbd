package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Rhythm of the passes.
const (
	// resync is the backstop: a pass runs at least this often.
	resync = 5 * time.Minute
	// retryFirst and retryLast bound the wait after a pass that failed.
	retryFirst, retryLast = 50 * time.Millisecond, 15 * time.Second
	// nodeLag is how soon to look again when the cache does not show a Node that exists: nothing can be planned without it.
	nodeLag = 500 * time.Millisecond
	// cacheLag is how soon to look again when the cache does not show our own writes yet.
	cacheLag = 10 * time.Millisecond
	// restMin and restMax bound the rest after a pass, which is as long as the pass was: the controller never takes more than
	// half a core, and what happens meanwhile is handled together.
	restMin, restMax = 10 * time.Millisecond, time.Second
)

// Options make a Reconciler.
type Options struct {
	// Client reads from the manager's cache and writes. Required.
	Client client.Client
	// Live reads from the API server. Required.
	Live client.Reader
	// Events records events. Required.
	Events events.EventRecorder
	// Metrics counts. Required.
	Metrics *Metrics
	// ServiceCIDRs says that the API server has the kind ServiceCIDR (Kubernetes 1.33).
	ServiceCIDRs bool
	// Fence is the controller's place in the election. Zero: no other controller can exist.
	Fence Fence
	// Policy is the name of the ValidatingAdmissionPolicy that confines agents, and of its binding. Default
	// v1alpha1.AdmissionPolicyName.
	Policy string
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Reconciler runs the passes. Reconcile must not be called concurrently.
type Reconciler struct {
	Options
	// echo is what was written and not seen in the cache yet.
	echo echo
	// rested is when the next pass may start.
	rested time.Time
	policy policyCheck
	// told remembers which event was recorded last about what, so that a condition that stays does not repeat it.
	told map[string]string
}

// New makes a Reconciler.
func New(o Options) (*Reconciler, error) {
	if o.Client == nil || o.Live == nil || o.Events == nil || o.Metrics == nil {
		return nil, errors.New("make reconciler: client, live reader, event recorder and metrics are required")
	}
	if o.Fence.Identity != "" && o.Fence.Lease.Name == "" {
		return nil, errors.New("make reconciler: an identity needs the election's lease")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Policy = cmp.Or(o.Policy, v1alpha1.AdmissionPolicyName)
	return &Reconciler{Options: o, policy: policyCheck{name: o.Policy}, told: map[string]string{}}, nil
}

// HasServiceCIDRs asks the API server whether it has the kind ServiceCIDR.
func HasServiceCIDRs(mapper meta.RESTMapper) (bool, error) {
	kind := networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR").GroupKind()
	_, err := mapper.RESTMapping(kind, networkingv1.SchemeGroupVersion.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up kind ServiceCIDR: %w", err)
	}
	return true, nil
}

// theOnlyKey stands for the whole cluster: there is one pass for everything.
var theOnlyKey = reconcile.Request{NamespacedName: types.NamespacedName{Name: v1alpha1.NetworkConfigName}}

// SetupWithManager has every change that matters start a pass.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{theOnlyKey}
	})
	b := ctrl.NewControllerManagedBy(mgr).Named("network").
		WithOptions(controller.Options{
			EnableWarmup: new(true),
			RateLimiter:  workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Watches(&v1alpha1.NetworkConfig{}, all).
		Watches(&v1alpha1.SubnetLease{}, all).
		Watches(&v1alpha1.NodeNetwork{}, all, builder.WithPredicates(reportChanges())).
		Watches(&corev1.Node{}, all, builder.WithPredicates(nodeChanges()))
	if r.ServiceCIDRs {
		b = b.Watches(&networkingv1.ServiceCIDR{}, all)
	}
	return b.Complete(r)
}

// Reconcile runs one pass.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	start := r.Now()
	if wait := r.rested.Sub(start); wait > 0 && wait <= restMax {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	snap, err := r.snapshot(ctx)
	if err != nil {
		return outcome(ctx, err, nodeLag, 0)
	}
	lags, overdue := r.echo.lags(snap, start)
	if lags {
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	if err := r.refresh(ctx, snap, overdue); err != nil {
		return outcome(ctx, err, nodeLag, 0)
	}
	p := r.newPass(snap, start)
	p.run(ctx)
	elapsed := r.Now().Sub(start)
	r.rested = start.Add(elapsed + min(max(elapsed, restMin), restMax))
	r.Metrics.observe(p, elapsed)
	return outcome(ctx, p.failure(), retryFirst, p.sleep(r.Now()))
}

// outcome is the end of a pass. A conflict is none of anybody's business: somebody wrote meanwhile, or a cache lags, and what
// the cache shows next is planned anew.
func outcome(ctx context.Context, err error, again, sleep time.Duration) (reconcile.Result, error) {
	switch {
	case err == nil:
		return reconcile.Result{RequeueAfter: sleep}, nil
	case apierrors.IsConflict(err):
		ctrl.LoggerFrom(ctx).V(1).Info("Planning again", keyReason, err.Error())
		return reconcile.Result{RequeueAfter: again}, nil
	}
	return reconcile.Result{}, err
}
