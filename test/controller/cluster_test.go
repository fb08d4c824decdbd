package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/controllers"
	"github.com/hopsack-net/hopsack/internal/network"
)

// patience is how long a test waits for something that must happen.
const patience = time.Minute

// cluster is the API server as a test sees it, empty at first.
type cluster struct {
	client.Client
	t *testing.T
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c, err := client.New(admin, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	cl := &cluster{Client: c, t: t}
	cl.wipe()
	t.Cleanup(func() {
		cl.checkNoOverlap()
		cl.wipe()
	})
	return cl
}

// wipe removes everything a test may have made.
func (c *cluster) wipe() {
	c.t.Helper()
	ctx := context.Background()
	for _, list := range []client.ObjectList{&v1alpha1.NetworkConfigList{}, &v1alpha1.NodeNetworkList{}, &v1alpha1.SubnetLeaseList{}, &corev1.NodeList{}} {
		if err := c.List(ctx, list); err != nil {
			c.t.Fatalf("wipe: %v", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			obj := o.(client.Object)
			if len(obj.GetFinalizers()) > 0 {
				patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
				if err := client.IgnoreNotFound(c.Patch(ctx, obj, patch)); err != nil {
					return err
				}
			}
			return client.IgnoreNotFound(c.Delete(ctx, obj))
		})
		if err != nil {
			c.t.Fatalf("wipe: %v", err)
		}
	}
}

// startController runs a controller with the rights it is shipped with, until the test ends or stop is called.
func (c *cluster) startController(change ...func(*rest.Config)) (stop func()) {
	c.t.Helper()
	return c.startFenced(controllers.Fence{}, change...)
}

// startFenced runs one that was elected under a name. The test holds the election: it writes the Lease, see elect.
func (c *cluster) startFenced(fence controllers.Fence, change ...func(*rest.Config)) (stop func()) {
	c.t.Helper()
	config := rest.CopyConfig(admin)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:hopsack-system:hopsack-controller",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:hopsack-system", "system:authenticated"},
	}
	config.QPS = -1
	for _, f := range change {
		f(config)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: controllers.StripNode}},
		},
	})
	if err != nil {
		c.t.Fatalf("make manager: %v", err)
	}
	metrics, err := controllers.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		c.t.Fatalf("make metrics: %v", err)
	}
	r, err := controllers.New(controllers.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("hopsack-controller"), Metrics: metrics, ServiceCIDRs: true,
		Fence: fence,
	})
	if err != nil {
		c.t.Fatalf("make reconciler: %v", err)
	}
	if err := r.SetupWithManager(mgr); err != nil {
		c.t.Fatalf("set up controller: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("controller: %v", err)
		}
	}
	c.t.Cleanup(stop)
	return stop
}

// apply creates the NetworkConfig, or replaces its spec, from YAML.
func (c *cluster) apply(spec string) {
	c.t.Helper()
	if err := c.tryApply(spec); err != nil {
		c.t.Fatalf("apply: %v", err)
	}
}

func (c *cluster) tryApply(spec string) error {
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName}}
	if err := yaml.UnmarshalStrict([]byte(spec), &cfg.Spec); err != nil {
		return err
	}
	wanted := cfg.Spec
	ctx := context.Background()
	for {
		err := c.Create(ctx, &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: cfg.Name}, Spec: wanted})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(cfg), cfg); err != nil {
			return err
		}
		cfg.Spec = wanted
		if err := c.Update(ctx, cfg); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// node makes a Node that is Ready.
func (c *cluster) node(name, internalIP string, podCIDRs ...string) {
	c.t.Helper()
	if err := c.tryNode(name, internalIP, podCIDRs...); err != nil {
		c.t.Fatalf("make node %s: %v", name, err)
	}
}

func (c *cluster) tryNode(name, internalIP string, podCIDRs ...string) error {
	ctx := context.Background()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if len(podCIDRs) > 0 {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = podCIDRs[0], podCIDRs
	}
	if err := c.Create(ctx, n); err != nil {
		return err
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	if internalIP != "" {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: internalIP})
	}
	n.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastTransitionTime: metav1.Now(),
	}}
	n.Status.NodeInfo.BootID = bootID
	return c.Status().Update(ctx, n)
}

// address is the underlay address of node i.
func address(i int) string { return fmt.Sprintf("172.30.%d.%d", i/250, 1+i%250) }

// nodes makes the nodes n1 to n<count>, in that order where there are few.
func (c *cluster) nodes(count int) {
	c.t.Helper()
	var group errgroup.Group
	group.SetLimit(1 + count/100)
	for i := 1; i <= count; i++ {
		group.Go(func() error { return c.tryNode(fmt.Sprintf("n%d", i), address(i)) })
	}
	if err := group.Wait(); err != nil {
		c.t.Fatalf("make nodes: %v", err)
	}
}

func (c *cluster) delete(obj client.Object) {
	c.t.Helper()
	if err := c.Delete(context.Background(), obj); err != nil {
		c.t.Fatalf("delete %s: %v", obj.GetName(), err)
	}
}

func (c *cluster) deleteNode(name string) {
	c.t.Helper()
	c.delete(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func (c *cluster) config() *v1alpha1.NetworkConfig {
	c.t.Helper()
	cfg := &v1alpha1.NetworkConfig{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, cfg); err != nil {
		c.t.Fatalf("get networkconfig: %v", err)
	}
	return cfg
}

func (c *cluster) nodeNetwork(name string) (*v1alpha1.NodeNetwork, error) {
	nn := &v1alpha1.NodeNetwork{}
	return nn, c.Get(context.Background(), client.ObjectKey{Name: name}, nn)
}

func (c *cluster) lease(name string) (*v1alpha1.SubnetLease, error) {
	l := &v1alpha1.SubnetLease{}
	return l, c.Get(context.Background(), client.ObjectKey{Name: name}, l)
}

func (c *cluster) nodeNetworks() []v1alpha1.NodeNetwork {
	c.t.Helper()
	var list v1alpha1.NodeNetworkList
	if err := c.List(context.Background(), &list); err != nil {
		c.t.Fatalf("list nodenetworks: %v", err)
	}
	return list.Items
}

func (c *cluster) leases() []v1alpha1.SubnetLease {
	c.t.Helper()
	var list v1alpha1.SubnetLeaseList
	if err := c.List(context.Background(), &list); err != nil {
		c.t.Fatalf("list leases: %v", err)
	}
	return list.Items
}

// subnets are the bound subnets by node.
func (c *cluster) subnets() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, nn := range c.nodeNetworks() {
		for _, s := range nn.Spec.Subnets {
			if s.State == v1alpha1.SubnetBound {
				out[nn.Name] += s.Subnet
			}
		}
	}
	return out
}

// eventually waits until f returns nil.
func (c *cluster) eventually(what string, f func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// condition waits for a condition of the NetworkConfig, and returns its message.
func (c *cluster) condition(kind, status, reason string, parts ...string) string {
	c.t.Helper()
	message := ""
	c.eventually("networkconfig", func() error {
		cfg := c.config()
		got, err := hasCondition(cfg.Status.Conditions, kind, status, reason, parts...)
		message = got
		if err == nil && cfg.Status.ObservedGeneration != cfg.Generation {
			return fmt.Errorf("observedGeneration %d, want %d", cfg.Status.ObservedGeneration, cfg.Generation)
		}
		return err
	})
	return message
}

// hasCondition checks a condition; parts must be in its message.
func hasCondition(conditions []metav1.Condition, kind, status, reason string, parts ...string) (string, error) {
	got := meta.FindStatusCondition(conditions, kind)
	if got == nil {
		return "", fmt.Errorf("no condition %s in %v", kind, conditions)
	}
	if string(got.Status) != status || got.Reason != reason {
		return got.Message, fmt.Errorf("%s is %s %s (%s), want %s %s", kind, got.Status, got.Reason, got.Message, status, reason)
	}
	for _, part := range parts {
		if !strings.Contains(got.Message, part) {
			return got.Message, fmt.Errorf("%s says %q, want %q in it", kind, got.Message, part)
		}
	}
	return got.Message, nil
}

// bound waits until so many nodes have a bound subnet.
func (c *cluster) bound(count int) map[string]string {
	c.t.Helper()
	var got map[string]string
	c.eventually("bound subnets", func() error {
		if got = c.subnets(); len(got) != count {
			return fmt.Errorf("%d nodes have a bound subnet, want %d", len(got), count)
		}
		return nil
	})
	return got
}

// checkNoOverlap fails the test if two bound subnets overlap, or one has no lease for its node.
func (c *cluster) checkNoOverlap() {
	c.t.Helper()
	if err := c.overlap(); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) overlap() error {
	owner := map[netip.Prefix]string{}
	for _, nn := range c.nodeNetworks() {
		for _, s := range nn.Spec.Subnets {
			if s.State == v1alpha1.SubnetIntended {
				continue
			}
			p := netip.MustParsePrefix(s.Subnet)
			for q, other := range owner {
				if q.Overlaps(p) {
					return fmt.Errorf("%s of %s overlaps %s of %s", p, nn.Name, q, other)
				}
			}
			owner[p] = nn.Name
		}
	}
	var errs []error
	for _, l := range c.leases() {
		p := netip.MustParsePrefix(l.Spec.Subnet)
		if n := owner[p]; n != "" && n != l.Spec.NodeName {
			errs = append(errs, fmt.Errorf("%s is bound by %s, its lease is %s's", p, n, l.Spec.NodeName))
		}
		if l.Name != network.LeaseName(p) {
			errs = append(errs, fmt.Errorf("lease %s has subnet %s", l.Name, p))
		}
	}
	return errors.Join(errs...)
}
