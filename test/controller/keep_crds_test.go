package controller

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestCRDsAreKept: while there is a NetworkConfig the API server refuses to delete the CRDs, and says what to do instead.
func TestCRDsAreKept(t *testing.T) {
	c := newCluster(t)
	t.Cleanup(c.restoreCRDs)
	all := []string{configsCRD, nodeNetworksCRD, leasesCRD}
	try := func(name string) error { return c.Delete(context.Background(), crd(name), client.DryRunAll) }

	c.apply(plain)
	for _, name := range all {
		c.eventually("refusal", func() error {
			err := try(name)
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `Run "kubectl hopsack uninstall --crds"`) {
				return fmt.Errorf("delete CRD %s: got %v, want a refusal", name, err)
			}
			return nil
		})
	}
	c.delete(c.config())
	for _, name := range all {
		c.eventually("permission", func() error { return try(name) })
	}
	c.delete(crd(configsCRD))
	c.crdGone(configsCRD)
	for _, name := range all[1:] { // there is nothing left to ask about
		c.eventually("permission", func() error { return try(name) })
	}
	if err := try(configsCRD); !apierrors.IsNotFound(err) {
		t.Errorf("delete what is gone: %v", err)
	}
}
