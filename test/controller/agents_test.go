package controller

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// agents plays every node's agent: it reports what a good one would. Tests change what it says.
type agents struct {
	c       *cluster
	clients sync.Map // client.Client by node

	mu sync.Mutex
	// silent nodes report nothing.
	silent map[string]bool
	// publicIP replaces the address a node reports, its first InternalIP.
	publicIP map[string]string
}

// startAgents runs until the test ends.
func (c *cluster) startAgents() *agents {
	a := &agents{c: c, silent: map[string]bool{}, publicIP: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			a.round(ctx)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

func (a *agents) silence(node string, silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent[node] = silent
}

func (a *agents) setPublicIP(node, ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.publicIP[node] = ip
}

// round has every agent report once if its object asks for more than it has reported.
func (a *agents) round(ctx context.Context) {
	var list v1alpha1.NodeNetworkList
	if err := a.c.List(ctx, &list); err != nil {
		return
	}
	var group errgroup.Group
	group.SetLimit(16)
	defer func() { _ = group.Wait() }() // errors are reported where they come up
	for i := range list.Items {
		nn := &list.Items[i]
		a.mu.Lock()
		silent, ip := a.silent[nn.Name], a.publicIP[nn.Name]
		a.mu.Unlock()
		if ip == "" && len(nn.Spec.InternalIPs) > 0 {
			ip = nn.Spec.InternalIPs[0]
		}
		current := nn.Status.ObservedGeneration == nn.Generation && nn.Status.NodeUID == nn.Spec.NodeUID
		if silent || current && (len(nn.Status.PublicIPs) == 0 || nn.Status.PublicIPs[0] == ip) {
			continue
		}
		group.Go(func() error {
			if err := a.report(ctx, nn, ip); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				a.c.t.Errorf("report of %s: %v", nn.Name, err)
			}
			return nil
		})
	}
}

// report applies a status as that node's agent, with that agent's rights.
func (a *agents) report(ctx context.Context, nn *v1alpha1.NodeNetwork, ip string) error {
	status, reason := "True", v1alpha1.ReasonReady
	report := map[string]any{
		"observedGeneration": nn.Generation, "nodeUID": nn.Spec.NodeUID, "bootID": "boot", "interface": "eth0", "mtu": int64(1450),
		"transmitRevision": nn.Spec.Transmit,
	}
	var prepared []any
	for _, r := range nn.Spec.Revisions {
		prepared = append(prepared, r.ID)
	}
	report["preparedRevisions"] = prepared
	if ip != "" {
		report["publicIPs"] = []any{ip}
	}
	if nn.Spec.Teardown != "" {
		status, reason = "False", v1alpha1.ReasonCleanedUp
	}
	report["conditions"] = []any{map[string]any{
		"type": v1alpha1.ConditionReady, "status": status, "reason": reason, "message": "fake", "observedGeneration": nn.Generation,
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}}
	obj := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": nn.Name}, "status": report}}
	obj.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("NodeNetwork"))
	c, err := a.client(nn.Name)
	if err != nil {
		return err
	}
	return c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("hopsack-agent"), client.ForceOwnership)
}

// client has the rights of the agent on a node: the service account, and the node's name as the token carries it. All share
// one pool of connections.
func (a *agents) client(node string) (client.Client, error) {
	if c, ok := a.clients.Load(node); ok {
		return c.(client.Client), nil
	}
	base, err := sharedTransport()
	if err != nil {
		return nil, err
	}
	c, err := client.New(admin, client.Options{
		Scheme: scheme, Mapper: a.c.RESTMapper(), HTTPClient: &http.Client{Transport: asAgent{node: node, base: base}},
	})
	if err != nil {
		return nil, err
	}
	a.clients.Store(node, c)
	return c, nil
}

var sharedTransport = sync.OnceValues(func() (http.RoundTripper, error) { return rest.TransportFor(admin) })

// asAgent adds the headers by which an administrator acts as an agent.
type asAgent struct {
	node string
	base http.RoundTripper
}

func (a asAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Impersonate-User", "system:serviceaccount:hopsack-system:hopsack-agent")
	r.Header["Impersonate-Group"] = []string{"system:serviceaccounts", "system:serviceaccounts:hopsack-system", "system:authenticated"}
	r.Header.Set("Impersonate-Extra-authentication.kubernetes.io%2Fnode-name", a.node)
	return a.base.RoundTrip(r)
}
