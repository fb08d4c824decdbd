package nodeagent

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// FieldManager is the agent's name in server-side apply.
const FieldManager = "hopsack-agent"

// reportTimeout bounds one write; reportRetry is the pause after one that failed, doubled up to reportRetryMax.
const (
	reportTimeout  = 10 * time.Second
	reportRetry    = 500 * time.Millisecond
	reportRetryMax = 30 * time.Second
	// countsAfter is when a report that brings new counts and nothing else is written, at the latest; at the soonest half of it.
	// It grows with the peers, countsPer for each and countsSoon at least, so that all nodes together write as often in any cluster.
	countsAfter = time.Minute
	countsPer   = 60 * time.Millisecond
	countsSoon  = time.Second
)

// reporter writes the node's status, the newest only, beside the loop: a slow API server never holds up a pass.
type reporter struct {
	client client.Client
	log    logr.Logger
	wake   trigger

	mu   sync.Mutex
	name string
	// uid is that of the NodeNetwork the report is about: it must not be taken for one about another of the same name.
	uid    types.UID
	want   *v1alpha1.NodeNetworkStatus
	posted *v1alpha1.NodeNetworkStatus
	// countsDue is when a report that differs in counts only is written; zero while there is none.
	countsDue time.Time
}

func newReporter(c client.Client, log logr.Logger) *reporter {
	return &reporter{client: c, log: log, wake: newTrigger()}
}

// report asks for a status to be written. One equal to the last that was written costs nothing.
func (r *reporter) report(about *v1alpha1.NodeNetwork, status v1alpha1.NodeNetworkStatus) {
	r.mu.Lock()
	r.name, r.uid, r.want = about.Name, about.UID, &status
	r.mu.Unlock()
	r.wake.kick()
}

// forget has the next report written although it may be equal to the last: the object was replaced, or its status lost.
func (r *reporter) forget() {
	r.mu.Lock()
	r.posted = nil
	r.mu.Unlock()
	r.wake.kick()
}

// conditions are those of the last report asked for, whose transition times the next one keeps.
func (r *reporter) conditions() []metav1.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil {
		return nil
	}
	return r.want.Conditions
}

// run writes until ctx ends.
func (r *reporter) run(ctx context.Context) {
	pause := reportRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		if err := r.post(ctx); err != nil && ctx.Err() == nil {
			r.log.Error(err, "Reporting status")
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, reportRetryMax)
			r.wake.kick()
			continue
		}
		pause = reportRetry
	}
}

// post writes the newest status unless it was written already. A NodeNetwork that is missing, or not the one that the report is
// about, is no error: the controller will make it, and the watch will say so.
func (r *reporter) post(ctx context.Context) error {
	metadata, want, due := r.due(time.Now())
	if !due {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NodeNetwork",
		"metadata": map[string]any{"name": metadata.Name, "uid": metadata.UID}, "status": want,
	})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	object := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: metadata.Name}}
	err = r.client.Status().Patch(ctx, object, client.RawPatch(types.ApplyPatchType, patch),
		client.FieldOwner(FieldManager), client.ForceOwnership)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // forced, so that nothing but the UID conflicts
	}
	if err != nil {
		return fmt.Errorf("patch status of nodenetwork %s: %w", metadata.Name, err)
	}
	r.mu.Lock()
	r.posted, r.countsDue = want, time.Time{}
	r.mu.Unlock()
	return nil
}

// due returns the newest status, and whether it is to be written now. Counts alone wait: on every node they move at once.
func (r *reporter) due(now time.Time) (about metav1.ObjectMeta, want *v1alpha1.NodeNetworkStatus, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.want == nil || r.posted != nil && equality.Semantic.DeepEqual(r.want, r.posted):
		return about, nil, false
	case r.posted == nil || !sameButCounts(r.want, r.posted):
	case r.countsDue.IsZero():
		wait := countsWait(r.want.Paths)
		wait = wait/2 + rand.N(wait/2)
		r.countsDue = now.Add(wait)
		time.AfterFunc(wait, r.wake.kick)
		return about, nil, false
	case now.Before(r.countsDue):
		return about, nil, false
	}
	return metav1.ObjectMeta{Name: r.name, UID: r.uid}, r.want, true
}

// countsWait is how long new counts wait at most.
func countsWait(counts *v1alpha1.PathCounts) time.Duration {
	if counts == nil {
		return countsSoon
	}
	return min(max(time.Duration(counts.Direct+counts.Encapsulated)*countsPer, countsSoon), countsAfter)
}

// sameButCounts says whether two reports differ in nothing but the counts of paths.
func sameButCounts(a, b *v1alpha1.NodeNetworkStatus) bool {
	x, y := *a, *b
	x.Paths, y.Paths = nil, nil
	return equality.Semantic.DeepEqual(x, y)
}
