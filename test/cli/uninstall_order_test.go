package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
)

// restoreCRDs puts back the CRDs that the test deletes.
func restoreCRDs(t *testing.T) {
	t.Cleanup(func() { installCRDs(t) })
}

// installCRDs does what "kubectl apply --server-side" does to them, and waits until they can be used.
func installCRDs(t *testing.T) {
	t.Helper()
	ctx := context.Background() // it also runs when the test is over
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) != len(crds) {
		t.Fatalf("%d CRDs are shipped, want %d: %v", len(files), len(crds), err)
	}
	for _, file := range files {
		for _, o := range decode(t, file) {
			if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "established CRDs", func() bool {
		return errors.Join(api.List(ctx, &v1alpha1.NodeNetworkList{}), api.List(ctx, &v1alpha1.SubnetLeaseList{}), api.List(ctx, &v1alpha1.NetworkConfigList{})) == nil
	})
}

// deleteCRDs does what "kubectl delete -f install.yaml" does to them.
func deleteCRDs(t *testing.T) {
	t.Helper()
	for _, name := range crds {
		if err := api.Delete(t.Context(), crd(name)); err != nil {
			t.Fatal(err)
		}
	}
}

var crds = []string{"networkconfigs.net.hopsack.dev", "nodenetworks.net.hopsack.dev", "subnetleases.net.hopsack.dev"}

func crd(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	o.SetName(name)
	return o
}

// TestUninstallCRDs: with --crds they go last, and the command ends when they are gone.
func TestUninstallCRDs(t *testing.T) {
	cluster(t)
	restoreCRDs(t)
	stop := startController(t)
	works(t)
	install(t, "uninstall-crds")        // with the policy that keeps the CRDs until it has heard that the network is gone
	time.AfterFunc(3*time.Second, stop) // it has no CRDs to watch later
	uninstallEnds(t, cli.ExitOK, []string{"--yes", "--crds"}, "4. delete the CRDs", "(3 of 3)", "customresourcedefinition/networkconfigs.net.hopsack.dev deleted", "done")
	for _, name := range crds {
		if err := api.Get(t.Context(), client.ObjectKey{Name: name}, crd(name)); !apierrors.IsNotFound(err) {
			t.Errorf("CRD %s: got %v, want not found", name, err)
		}
	}
	uninstallEnds(t, cli.ExitOK, []string{"--yes", "--crds"}, "Nothing is left to remove.")
}

// TestDeletedInTheWrongOrder: somebody deletes CRDs, controller and agents all at once. Leases stay, so that agents which come
// back find them; without the manifests nothing can be confirmed, with them uninstall goes on, and with it the deletion ends.
func TestDeletedInTheWrongOrder(t *testing.T) {
	for name, forced := range map[string]bool{"applied again": false, "forced": true} {
		t.Run(name, func(t *testing.T) {
			l := cluster(t)
			restoreCRDs(t)
			stop := startController(t)
			works(t)
			l.silence("n1", "n2", "n3")
			stop()
			deleteCRDs(t)
			eventually(t, "end of the CRD without finalizers", func() bool {
				return apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKey{Name: crds[1]}, crd(crds[1])))
			})
			held := leases(t)
			released := slices.ContainsFunc(held, func(l v1alpha1.SubnetLease) bool { return l.Status.ReleasedAt != nil })
			if len(held) != 3 || released || current(t).DeletionTimestamp.IsZero() {
				t.Errorf("agents that come back find %d leases (want 3), released %v; networkconfig in deletion since %v", len(held), released, current(t).DeletionTimestamp)
			}
			uninstallEnds(t, cli.ExitFailed, []string{"--yes"}, "the CRD nodenetworks.net.hopsack.dev is gone", "apply the manifests again", "--force-finalizers")
			if forced {
				uninstallEnds(t, cli.ExitOK, []string{"--yes", "--force-finalizers"}, "not confirmed to be clean: n1, n2, n3")
			} else {
				installCRDs(t)
				startController(t)
				eventually(t, "NodeNetworks again", func() bool {
					var all v1alpha1.NodeNetworkList
					return api.List(t.Context(), &all) == nil && len(all.Items) == 3
				})
				l.silence()
				uninstallEnds(t, cli.ExitOK, []string{"--yes", "--crds", "--timeout", "30s"}, "(3 of 3)", "done")
			}
			for _, name := range crds { // what kubectl delete waits for, and what was applied again
				eventually(t, "end of "+name, func() bool {
					return apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKey{Name: name}, crd(name)))
				})
			}
		})
	}
}
