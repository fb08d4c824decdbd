package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Kinds of which the CRDs are deleted. Objects of the second have no finalizer: they are gone at once, and their CRD with them.
const configsCRD, nodeNetworksCRD, leasesCRD = "networkconfigs.net.hopsack.dev", "nodenetworks.net.hopsack.dev", "subnetleases.net.hopsack.dev"

// TestCRDsDeletedUnderTheController: the API server deletes all NodeNetworks, and with them what every agent has said. Nobody has
// confirmed a teardown, so nothing that peers go by changes, until the CRD is there again and the user has confirmed.
func TestCRDsDeletedUnderTheController(t *testing.T) {
	c := newCluster(t)
	t.Cleanup(c.restoreCRDs)
	creates := &counter{}
	stop := c.startController(creates.count)
	c.startAgents()
	c.apply(plain)
	c.nodes(3)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	before := c.promises()

	c.deleteCRDs()
	creates.twoMorePasses(c)
	if diff := cmp.Diff(before, c.promises()); diff != "" {
		t.Fatalf("what peers go by, after the NodeNetworks are gone (-before +after):\n%s", diff)
	}
	stop()
	c.installCRDs()
	c.startController() // it has died meanwhile, and knows no more than the objects
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonTeardownPending, "3 nodes", "net.hopsack.dev/teardown: confirmed")
	if diff := cmp.Diff(map[string]string{"n1": "10.244.1.0/24", "n2": "10.244.2.0/24", "n3": "10.244.3.0/24"}, c.bound(3)); diff != "" {
		t.Errorf("subnets after the CRD is there again (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, c.promises()); diff != "" {
		t.Errorf("what peers go by, after the CRD is there again (-before +after):\n%s", diff)
	}
	c.confirmTeardown()
	c.crdGone(configsCRD)
	c.crdGone(leasesCRD)
}

// TestCRDsDeletedAfterConfirmation: a NodeNetwork that is missing is not one whose agent has confirmed, whatever the user has.
func TestCRDsDeletedAfterConfirmation(t *testing.T) {
	c := newCluster(t)
	t.Cleanup(c.restoreCRDs)
	creates := &counter{}
	c.startController(creates.count)
	a := c.startAgents()
	c.apply(plain)
	c.nodes(3)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	before := c.promises()
	for _, n := range []string{"n1", "n2", "n3"} {
		a.silence(n, true)
	}
	c.delete(c.config())
	c.confirmTeardown()
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonTearingDown, "3 nodes")
	c.deleteCRDs()
	creates.twoMorePasses(c)
	if diff := cmp.Diff(before, c.promises()); diff != "" {
		t.Errorf("what peers go by, after the NodeNetworks are gone (-before +after):\n%s", diff)
	}
}

// promises are the endpoints that leases publish.
func (c *cluster) promises() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, l := range c.leases() {
		out[l.Name] = fmt.Sprint(l.Spec.NodeName, " ", l.Status.PublicIP, " ", l.Status.BackendType, " ", l.Status.BackendData, " released ", l.Status.ReleasedAt)
	}
	return out
}

func (c *cluster) confirmTeardown() {
	c.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"net.hopsack.dev/teardown":"confirmed"}}}`))
	if err := c.Patch(context.Background(), c.config(), patch); err != nil {
		c.t.Fatal(err)
	}
}

// counter counts how often a controller tries to make a NodeNetwork.
type counter struct {
	http.RoundTripper
	creates atomic.Int64
}

func (n *counter) count(config *rest.Config) {
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		n.RoundTripper = rt
		return n
	})
}

func (n *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/nodenetworks") {
		n.creates.Add(1)
	}
	return n.RoundTripper.RoundTrip(r)
}

// twoMorePasses waits until the controller has begun a third pass over three nodes without NodeNetworks.
func (n *counter) twoMorePasses(c *cluster) {
	c.t.Helper()
	since := n.creates.Load()
	c.eventually("passes without NodeNetworks", func() error {
		if got := n.creates.Load() - since; got <= 6 {
			return fmt.Errorf("%d attempts to make one, want more than 6", got)
		}
		return nil
	})
}

func crd(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	o.SetName(name)
	return o
}

// deleteCRDs deletes them where nothing keeps them, and waits until NodeNetworks are gone with theirs and leases are in deletion.
func (c *cluster) deleteCRDs() {
	c.t.Helper()
	ctx := context.Background()
	keeper := &admissionv1.ValidatingAdmissionPolicyBinding{}
	if err := c.Get(ctx, client.ObjectKey{Name: "hopsack-crds"}, keeper); err != nil {
		c.t.Fatal(err)
	}
	c.delete(keeper)
	c.t.Cleanup(func() {
		keeper.ResourceVersion = ""
		if err := c.Create(ctx, keeper); err != nil {
			c.t.Error(err)
		}
	})
	for _, name := range []string{configsCRD, nodeNetworksCRD, leasesCRD} {
		c.eventually("deletion of "+name, func() error { return c.Delete(ctx, crd(name)) }) // the API server forgets a policy a moment later
	}
	c.crdGone(nodeNetworksCRD)
	c.eventually("leases in deletion", func() error {
		for _, l := range c.leases() {
			if l.DeletionTimestamp.IsZero() {
				return fmt.Errorf("nobody has deleted %s", l.Name)
			}
		}
		return nil
	})
}

func (c *cluster) crdGone(name string) {
	c.t.Helper()
	c.eventually("end of CRD "+name, func() error {
		if err := c.Get(context.Background(), client.ObjectKey{Name: name}, crd(name)); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}

// installCRDs does what "kubectl apply --server-side" does to them, and waits until they can be used.
func (c *cluster) installCRDs() {
	c.t.Helper()
	ctx := context.Background()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) != 3 {
		c.t.Fatalf("%d CRDs are shipped, want 3: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, o); err != nil {
			c.t.Fatal(err)
		}
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
			c.t.Fatal(err)
		}
	}
	c.eventually("established CRDs", func() error {
		return errors.Join(c.List(ctx, &v1alpha1.NodeNetworkList{}), c.List(ctx, &v1alpha1.SubnetLeaseList{}), c.List(ctx, &v1alpha1.NetworkConfigList{}))
	})
}

// restoreCRDs ends their deletion and puts them back for the next test.
func (c *cluster) restoreCRDs() {
	c.t.Helper()
	c.installCRDs()
	c.wipe()
	deadline := time.Now().Add(patience)
	for _, name := range []string{configsCRD, leasesCRD} {
		for time.Now().Before(deadline) {
			o := crd(name)
			if err := c.Get(context.Background(), client.ObjectKey{Name: name}, o); err != nil || o.GetDeletionTimestamp() == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.installCRDs()
}
