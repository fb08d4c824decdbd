package nodeagent

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/rewind"
)

// newScheme knows hopsack's kinds and nothing else: an agent reads nothing else.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, v1alpha1.AddToScheme(scheme)
}

// newMapper maps hopsack's kinds without asking the API server, which may be gone when the agent starts.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"SubnetLease", "NodeNetwork"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	return mapper
}

// newClient returns a client for the status writes and for the guard's question, and a cache of all leases and the node's own NodeNetwork. Neither
// contacts the API server.
func newClient(config *rest.Config, nodeName string) (client.Client, cache.Cache, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, nil, err
	}
	shared, err := rest.HTTPClientFor(config) // one connection for both
	if err != nil {
		return nil, nil, fmt.Errorf("make the HTTP client: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: newMapper(), HTTPClient: shared})
	if err != nil {
		return nil, nil, fmt.Errorf("make the API client: %w", err)
	}
	objects, err := cache.New(config, cache.Options{
		Scheme: scheme, Mapper: newMapper(), HTTPClient: shared,
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.NodeNetwork{}: {Field: fields.OneTermEqualSelector("metadata.name", nodeName)},
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the cache: %w", err)
	}
	return c, objects, nil
}

// watcher feeds the view from the API.
type watcher struct {
	cache    cache.Cache
	view     *view
	nodeName string
	// changed is called after every event.
	changed func()
	// nodeReplaced is called when the NodeNetwork is new, or its status is not the agent's last report.
	nodeReplaced func()
	log          logr.Logger
	// client asks the API server itself, and guard when to.
	client client.Client
	guard  *rewind.Guard
}

// run starts the informers and, once each has its first complete list, tells the view what is missing from it. It returns
// rewind.ErrRewound when the informers cannot be believed any more.
func (w watcher) run(ctx context.Context) error {
	nodes, err := w.cache.GetInformer(ctx, &v1alpha1.NodeNetwork{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch nodenetworks: %w", err)
	}
	leases, err := w.cache.GetInformer(ctx, &v1alpha1.SubnetLease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch subnetleases: %w", err)
	}
	nodesSeen, err := nodes.AddEventHandler(w.nodeHandler())
	if err != nil {
		return fmt.Errorf("watch nodenetworks: %w", err)
	}
	leasesSeen, err := leases.AddEventHandler(w.leaseHandler())
	if err != nil {
		return fmt.Errorf("watch subnetleases: %w", err)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), leasesSeen.HasSynced) {
		return nil // ctx ended
	}
	var list v1alpha1.SubnetLeaseList
	if err := w.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list subnetleases: %w", err)
	}
	names := make(map[string]struct{}, len(list.Items))
	for _, l := range list.Items {
		names[l.Name] = struct{}{}
	}
	w.view.onlyThese(names, time.Now())
	if !toolscache.WaitForCacheSync(ctx.Done(), nodesSeen.HasSynced) {
		return nil
	}
	var own v1alpha1.NodeNetworkList
	if err := w.cache.List(ctx, &own); err != nil {
		return fmt.Errorf("list nodenetworks: %w", err)
	}
	if len(own.Items) == 0 {
		w.view.loseNode(time.Now())
	}
	w.log.Info("Watching", "leases", len(names))
	w.changed()
	return w.guard.Run(ctx, func() string { return rewind.LastSeen(leases) }, rewind.Newest(w.client, &v1alpha1.SubnetLeaseList{}))
}

func (w watcher) nodeHandler() toolscache.ResourceEventHandler {
	take := func(obj any, isNew bool) {
		n, ok := obj.(*v1alpha1.NodeNetwork)
		if !ok {
			return
		}
		if isNew || n.Status.ObservedGeneration == 0 {
			w.nodeReplaced()
		}
		if w.view.setNode(n) {
			w.changed()
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { take(obj, true) },
		UpdateFunc: func(old, obj any) {
			before, ok := old.(*v1alpha1.NodeNetwork)
			take(obj, ok && before.UID != obj.(client.Object).GetUID())
		},
		DeleteFunc: func(any) {
			w.log.Info("NodeNetwork is gone, keeping what it said last", "node", w.nodeName)
			w.view.loseNode(time.Now())
			w.changed()
		},
	}
}

func (w watcher) leaseHandler() toolscache.ResourceEventHandler {
	set := func(obj any) {
		if l, ok := obj.(*v1alpha1.SubnetLease); ok && w.view.setLease(l, time.Now()) {
			w.changed()
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			seen := true
			if last, missed := obj.(toolscache.DeletedFinalStateUnknown); missed {
				obj, seen = last.Obj, false
			}
			if l, ok := obj.(*v1alpha1.SubnetLease); ok {
				w.view.loseLease(l.Name, seen, time.Now())
				w.changed()
			}
		},
	}
}
