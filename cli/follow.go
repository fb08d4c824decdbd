package cli

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// reconnectAfter is the pause before a watch that ended is started again.
const reconnectAfter = 500 * time.Millisecond

// follow calls see with the NetworkConfig now and whenever it changes, until see says that it is over or ctx ends. A watch
// that breaks is started again from what is then there, so nothing that lasts is missed. wake, when not nil, has see called
// again with the last object.
func follow(ctx context.Context, c client.WithWatch, wake <-chan time.Time, see func(*v1alpha1.NetworkConfig) (over bool, err error)) error {
	for first := true; ; first = false {
		cfg, err := networkConfig(ctx, c)
		switch {
		case err != nil && !first && retriable(err):
			// The API server is away for a moment: the time limit of the caller says for how long that is all right.
		case err != nil:
			return err
		default:
			over, err := see(cfg)
			if over || err != nil {
				return err
			}
			over, err = followFrom(ctx, c, cfg, wake, see)
			if over || err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectAfter):
		}
	}
}

// followFrom is one watch; over is false when it broke.
func followFrom(ctx context.Context, c client.WithWatch, cfg *v1alpha1.NetworkConfig, wake <-chan time.Time,
	see func(*v1alpha1.NetworkConfig) (bool, error)) (over bool, err error) {
	w, err := c.Watch(ctx, &v1alpha1.NetworkConfigList{}, &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, cfg.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: cfg.ResourceVersion},
	})
	if err != nil {
		if retriable(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return false, nil
		}
		return true, fmt.Errorf("watch networkconfig %s: %w", cfg.Name, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-wake:
		case event, open := <-w.ResultChan():
			if !open || event.Type == watch.Error {
				return false, nil
			}
			if event.Type == watch.Deleted {
				return true, fmt.Errorf("networkconfig %s was deleted", cfg.Name)
			}
			if next, ok := event.Object.(*v1alpha1.NetworkConfig); ok {
				cfg = next
			}
		}
		if over, err := see(cfg); over || err != nil {
			return true, err
		}
	}
}

// retriable says whether the same request may well succeed a moment later: nobody answered, or the server is not up to it.
func retriable(err error) bool {
	var status apierrors.APIStatus
	if !asStatus(err, &status) {
		return !isPermanent(err)
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}
