package main

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/rewind"
)

// historyGuard ends the manager when its caches cannot be believed any more, elected or not.
type historyGuard struct {
	mgr   ctrl.Manager
	guard *rewind.Guard
}

// NeedLeaderElection says that every replica watches for itself.
func (historyGuard) NeedLeaderElection() bool { return false }

// Start returns rewind.ErrRewound when etcd was restored from a backup.
func (h historyGuard) Start(ctx context.Context) error {
	leases, err := h.mgr.GetCache().GetInformer(ctx, &v1alpha1.SubnetLease{})
	if err != nil {
		return fmt.Errorf("watch subnetleases: %w", err)
	}
	return h.guard.Run(ctx, func() string { return rewind.LastSeen(leases) }, rewind.Newest(h.mgr.GetAPIReader(), &v1alpha1.SubnetLeaseList{}))
}
