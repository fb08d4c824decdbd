package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// echoPatience is how long a pass waits for the cache to show a write. After that it does without: that costs conflicts at most,
// but for NodeNetworks, which a rollout is planned from as a whole. Those are read from the API server then.
const echoPatience = 3 * time.Second

// echo remembers the controller's writes until the cache shows them: a pass planned from objects older than one's own writes
// would only run into conflicts.
type echo struct {
	mu      sync.Mutex
	pending map[echoKey]written
}

type echoKey struct{ kind, name string }

type written struct {
	uid     types.UID
	version string
	deleted bool
	at      time.Time
}

// Kinds that passes write conditionally.
const (
	kindNetworkConfig = "NetworkConfig"
	kindNodeNetwork   = "NodeNetwork"
	kindSubnetLease   = "SubnetLease"
	kindNode          = "Node"
)

func (e *echo) note(kind string, obj client.Object, deleted bool, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending == nil {
		e.pending = map[echoKey]written{}
	}
	e.pending[echoKey{kind, obj.GetName()}] = written{uid: obj.GetUID(), version: obj.GetResourceVersion(), deleted: deleted, at: now}
}

// lags says whether some write is missing from the snapshot, and forgets those that are there. overdue names the NodeNetworks
// whose last write has been missing for longer than echoPatience.
func (e *echo) lags(s *snapshot, now time.Time) (lags bool, overdue []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) == 0 {
		return false, nil
	}
	leases := make(map[string]*v1alpha1.SubnetLease, len(s.leases))
	for _, l := range s.leases {
		leases[l.Name] = l
	}
	for key, w := range e.pending {
		var seen client.Object
		switch key.kind {
		case kindNetworkConfig:
			if s.config != nil {
				seen = s.config
			}
		case kindNodeNetwork:
			if nn := s.nodeNetworks[key.name]; nn != nil {
				seen = nn
			}
		case kindSubnetLease:
			if l := leases[key.name]; l != nil {
				seen = l
			}
		case kindNode:
			if n := s.nodes[key.name]; n != nil {
				seen = n
			}
		}
		patient := now.Sub(w.at) <= echoPatience
		switch {
		case w.shown(seen) || !patient && key.kind != kindNodeNetwork:
			delete(e.pending, key)
		case patient:
			lags = true
		default:
			overdue = append(overdue, key.name)
		}
	}
	return lags, overdue
}

// refresh puts NodeNetworks that the cache shows too old into the snapshot as the API server has them.
func (r *Reconciler) refresh(ctx context.Context, s *snapshot, names []string) error {
	for _, name := range names {
		nn := &v1alpha1.NodeNetwork{}
		err := r.Live.Get(ctx, client.ObjectKey{Name: name}, nn)
		switch {
		case apierrors.IsNotFound(err):
			delete(s.nodeNetworks, name)
			r.echo.forget(kindNodeNetwork, name)
		case err != nil:
			return fmt.Errorf("read nodenetwork %s, which the cache shows too old: %w", name, err)
		default:
			s.nodeNetworks[name] = nn
		}
	}
	return nil
}

// forget drops what was written about an object that is gone.
func (e *echo) forget(kind, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pending, echoKey{kind, name})
}

// shown says whether the cache's object, nil for none, is what was written or came after.
func (w written) shown(seen client.Object) bool {
	switch {
	case seen == nil:
		return w.deleted
	case w.deleted:
		return seen.GetUID() != w.uid
	}
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), w.version)
	return err != nil || order >= 0
}
