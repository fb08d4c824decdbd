package rewind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrRewound says that the API server knows less than was seen of it before.
var ErrRewound = errors.New("the API server's history went back: etcd was restored from a backup")

// retryAfter is the pause after a look that failed.
const retryAfter = time.Second

// Guard looks whenever the API server answers again after it did not.
type Guard struct {
	broken atomic.Bool
	again  chan struct{}
}

// New returns a Guard that sees every request made with config from now on.
func New(config *rest.Config) *Guard {
	g := &Guard{again: make(chan struct{}, 1)}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return roundTripper{g, next} })
	return g
}

type roundTripper struct {
	guard *Guard
	next  http.RoundTripper
}

// RoundTrip passes the request on and remembers whether it was answered.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	switch {
	case errors.Is(err, context.Canceled): // says nothing about the server
	case err != nil || response.StatusCode >= http.StatusInternalServerError:
		r.guard.broken.Store(true)
	case r.guard.broken.CompareAndSwap(true, false):
		select {
		case r.guard.again <- struct{}{}:
		default:
		}
	}
	return response, err
}

// WrappedRoundTripper lets client-go look through to the transport it made.
func (r roundTripper) WrappedRoundTripper() http.RoundTripper { return r.next }

// Run returns ErrRewound once history went back, and nil when ctx ends. seen is the newest resourceVersion that was seen,
// "" for none yet; now asks the API server for its newest.
func (g *Guard) Run(ctx context.Context, seen func() string, now func(context.Context) (string, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.again:
		}
		for {
			err := look(ctx, seen, now)
			if errors.Is(err, ErrRewound) {
				return err
			}
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryAfter):
			}
		}
	}
}

// look compares once. What was seen is read first: it may only grow meanwhile.
func look(ctx context.Context, seen func() string, now func(context.Context) (string, error)) error {
	before := seen()
	if before == "" {
		return nil
	}
	current, err := now(ctx)
	if err != nil {
		return err
	}
	order, err := resourceversion.CompareResourceVersion(current, before)
	if err != nil {
		return fmt.Errorf("compare resourceVersions %q and %q: %w", current, before, err)
	}
	if order < 0 {
		return fmt.Errorf("%w: it is at resourceVersion %s, and was at %s", ErrRewound, current, before)
	}
	return nil
}

// LastSeen is the resourceVersion that an informer is at, "" before its first list.
func LastSeen(informer cache.Informer) string {
	if i, ok := informer.(interface{ LastSyncResourceVersion() string }); ok {
		return i.LastSyncResourceVersion()
	}
	return ""
}

// Newest asks for the API server's newest resourceVersion, with a list of at most one item. The reader must not be a cache.
func Newest(reader client.Reader, list client.ObjectList) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		list := list.DeepCopyObject().(client.ObjectList)
		if err := reader.List(ctx, list, client.Limit(1)); err != nil {
			return "", err
		}
		return list.GetResourceVersion(), nil
	}
}
