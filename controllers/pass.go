package controllers

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/endpoints"
	"github.com/hopsack-net/hopsack/internal/plan/leases"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
	"github.com/hopsack-net/hopsack/internal/plan/teardown"
)

// parallelWrites is how many writes are on their way at once. More do not make an API server faster.
const parallelWrites = 32

// pass is one pass: what it saw, what it decided, and how it went.
type pass struct {
	r       *Reconciler
	now     time.Time
	snap    *snapshot
	cluster plan.Cluster

	// effective is what nodes have or get; nil when there is none, or when it cannot be told (the spec was refused and what was
	// accepted before is not recorded).
	effective *network.Config
	// refusal says why the spec is not effective; nil when it is.
	refusal *plan.Problem
	// target is the revision that effective asks for.
	target plan.Revision
	step   rollout.Step
	leases leases.Plan
	// endpoints is computed after the writes that it depends on.
	endpoints endpoints.Result
	teardown  teardown.Step
	confined  plan.Problem // the reason and message of AgentsConfined

	// election is who was elected, once somebody has asked; deposed says that it was somebody else.
	election struct {
		once sync.Once
		err  error
	}
	deposed atomic.Bool

	mu     sync.Mutex
	errs   []error
	again  bool // a pass is needed at once
	writes map[writeKey]int
}

func (r *Reconciler) newPass(s *snapshot, now time.Time) *pass {
	return &pass{r: r, now: now, snap: s, cluster: s.cluster(), writes: map[writeKey]int{}}
}

// run makes the pass. What fails is kept in p.errs; what does not depend on it goes on.
func (p *pass) run(ctx context.Context) {
	if p.snap.config == nil {
		// Without a NetworkConfig there is nothing to go by: what is, stays.
		return
	}
	p.confined = p.r.policy.check(ctx, p.r.Live, p.now)
	p.decide()
	switch {
	case p.removing():
		p.remove(ctx)
	case p.effective != nil:
		if !p.hold(ctx) {
			return
		}
		p.release(ctx)
		p.stamp(ctx)
		p.allocate(ctx)
		if p.deposed.Load() {
			return
		}
		p.publish(ctx)
	}
	if p.deposed.Load() {
		return // what is to be said is for its successor to say
	}
	p.tellNodes(ctx)
	p.report(ctx)
}

// decide plans everything that can be known before writing.
func (p *pass) decide() {
	config := p.snap.config
	before, recalled := rollout.Recall(config.Status.Effective, p.cluster)
	if recalled {
		p.effective = &before
	}
	wanted, err := network.FromAPI(config)
	switch {
	case err != nil:
		p.refusal = &plan.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error()}
	default:
		p.refusal = rollout.Accept(wanted, p.effective, p.cluster)
	}
	if p.refusal == nil {
		p.effective = &wanted
	}
	p.teardown = teardown.Next(p.cluster)
	if p.effective == nil {
		return
	}
	p.target = rollout.Target(*p.effective)
	p.step = rollout.Next(p.rolloutInput())
	p.leases = leases.Make(*p.effective, p.cluster, p.now)
}

// fail keeps an error.
func (p *pass) fail(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, err)
}

// failure is what went wrong: the first error, and how many there were. A conflict shows only when there was nothing else: the
// next pass settles it.
func (p *pass) failure() error {
	var first, conflict error
	for _, err := range p.errs {
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			conflict = err
		case first == nil:
			first = err
		}
	}
	switch {
	case first != nil && len(p.errs) > 1:
		return errors.Join(first, errors.New("further errors in the same pass are left out"))
	case first != nil:
		return first
	case conflict != nil:
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("").GroupResource(), "", conflict)
	}
	return nil
}

// sleep is how long nothing needs to be done if nothing happens.
func (p *pass) sleep(now time.Time) time.Duration {
	if p.again {
		return retryFirst
	}
	d := min(resync, max(p.r.policy.until.Sub(now), retryFirst))
	for _, next := range []time.Time{p.leases.Next, p.step.Wake} {
		if !next.IsZero() {
			d = min(d, max(next.Sub(now), retryFirst))
		}
	}
	return d
}

// each calls f for every item, several at once, and keeps the errors.
func each[T any](ctx context.Context, p *pass, items []T, f func(context.Context, T) error) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelWrites)
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			p.fail(f(ctx, item))
		})
	}
	wg.Wait()
}

// toldLimit bounds the memory of events: names of nodes that are gone are never asked for again.
const toldLimit = 20000

// event records an event about obj, once for as long as nothing else is to be told about the same topic.
func (p *pass) event(obj runtime.Object, name, topic, eventType, reason, action, message string) {
	key := name + "/" + topic
	p.mu.Lock()
	if len(p.r.told) > toldLimit {
		clear(p.r.told)
	}
	told := p.r.told[key] == reason+message
	p.r.told[key] = reason + message
	p.mu.Unlock()
	if !told {
		p.r.Events.Eventf(obj, nil, eventType, reason, action, "%s", clip(message, 1000))
	}
}

// clip shortens what an event has no room for.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit-3] + "..."
}

// condition makes a condition with the pass's time.
func (p *pass) condition(t string, status metav1.ConditionStatus, generation int64, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type: t, Status: status, Reason: reason, Message: clip(message, 32000), ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(p.now).Rfc3339Copy(),
	}
}

// log is the pass's logger.
func (p *pass) log(ctx context.Context) logr.Logger { return ctrl.LoggerFrom(ctx) }
