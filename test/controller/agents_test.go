package controller

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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
	// boot replaces the boot ID a node reports.
	boot map[string]string
	// blocked paths fail when they are probed.
	blocked map[path]string
	// refuses are revisions that a node leaves by itself as soon as it sends with them.
	refuses map[string]string
	// said is the last report by node, without its times.
	said map[string]string
}

// path is one node's way to another with a revision.
type path struct{ revision, from, to string }

// bootID is the boot of every node that no test has rebooted.
const bootID = "boot"

// startAgents runs until the test ends.
func (c *cluster) startAgents() *agents {
	a := &agents{
		c: c, silent: map[string]bool{}, publicIP: map[string]string{}, boot: map[string]string{}, blocked: map[path]string{},
		refuses: map[string]string{}, said: map[string]string{},
	}
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

// set changes what agents say.
func (a *agents) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *agents) silence(node string, silent bool) { a.set(func() { a.silent[node] = silent }) }

func (a *agents) setPublicIP(node, ip string) { a.set(func() { a.publicIP[node] = ip }) }

// block has probes with a revision fail from one node to another, both ways; an empty reason lets them pass again.
func (a *agents) block(revision, from, to, reason string) {
	a.set(func() {
		for _, p := range []path{{revision, from, to}, {revision, to, from}} {
			if a.blocked[p] = reason; reason == "" {
				delete(a.blocked, p)
			}
		}
	})
}

// refuse has a node leave a revision by itself after it began to send with it; "" ends that.
func (a *agents) refuse(node, revision string) { a.set(func() { a.refuses[node] = revision }) }

// round has every agent report once if it has something new to say.
func (a *agents) round(ctx context.Context) {
	var list v1alpha1.NodeNetworkList
	var leases v1alpha1.SubnetLeaseList
	if a.c.List(ctx, &list) != nil || a.c.List(ctx, &leases) != nil {
		return
	}
	peers := map[string]bool{}
	for _, l := range leases.Items {
		if l.Status.PublicIP != "" {
			peers[l.Spec.NodeName] = true
		}
	}
	names := slices.Sorted(maps.Keys(peers))
	var group errgroup.Group
	group.SetLimit(16)
	defer func() { _ = group.Wait() }() // errors are reported where they come up
	for i := range list.Items {
		nn := &list.Items[i]
		a.mu.Lock()
		report := a.compose(nn, names)
		text, err := json.Marshal(report)
		said := string(nn.UID) + string(text)
		lost := nn.Status.ObservedGeneration != nn.Generation || nn.Status.NodeUID != nn.Spec.NodeUID
		skip := a.silent[nn.Name] || a.said[nn.Name] == said && !lost
		a.mu.Unlock()
		if err != nil {
			a.c.t.Errorf("report of %s: %v", nn.Name, err)
		}
		if skip {
			continue
		}
		group.Go(func() error {
			err := a.report(ctx, nn, report)
			if client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				a.c.t.Errorf("report of %s: %v", nn.Name, err)
			}
			if err == nil {
				a.set(func() { a.said[nn.Name] = said })
			}
			return nil
		})
	}
}

// compose makes the report that a node's agent would send.
func (a *agents) compose(nn *v1alpha1.NodeNetwork, peers []string) map[string]any {
	ip, boot := a.publicIP[nn.Name], a.boot[nn.Name]
	if ip == "" && len(nn.Spec.InternalIPs) > 0 {
		ip = nn.Spec.InternalIPs[0]
	}
	if boot == "" {
		boot = bootID
	}
	report := map[string]any{
		"observedGeneration": nn.Generation, "nodeUID": nn.Spec.NodeUID, "bootID": boot, "interface": "eth0", "mtu": int64(1450),
		"transmitRevision": nn.Spec.Transmit,
	}
	var prepared, verifications []any
	for _, r := range nn.Spec.Revisions {
		prepared = append(prepared, r.ID)
		refused := a.refuses[nn.Name] == r.ID && nn.Spec.Transmit == r.ID
		if refused {
			report["transmitRevision"] = other(nn.Spec.Revisions, r.ID)
			report["failedRevision"] = map[string]any{"revision": r.ID, "failing": []any{map[string]any{
				"node": "n1", "reason": v1alpha1.ProbeNoAnswer, "message": "no answer from n1 after the switch",
			}}}
		}
		if len(nn.Spec.Revisions) > 1 {
			verifications = append(verifications, a.verify(nn.Name, r.ID, peers))
		}
	}
	report["preparedRevisions"] = prepared
	if len(verifications) > 0 {
		report["verifications"] = verifications
	}
	if ip != "" {
		report["publicIPs"] = []any{ip}
	}
	status, reason := "True", v1alpha1.ReasonReady
	if nn.Spec.Teardown != "" {
		status, reason = "False", v1alpha1.ReasonCleanedUp
	}
	report["conditions"] = []any{map[string]any{
		"type": v1alpha1.ConditionReady, "status": status, "reason": reason, "message": "fake", "observedGeneration": nn.Generation,
		"lastTransitionTime": "2026-01-01T00:00:00Z",
	}}
	return report
}

// other is a revision that is not id.
func other(revisions []v1alpha1.Revision, id string) string {
	for _, r := range revisions {
		if r.ID != id {
			return r.ID
		}
	}
	return id
}

// verify probes every peer.
func (a *agents) verify(node, revision string, peers []string) map[string]any {
	var count, verified int64
	failing := []any{}
	for _, peer := range peers {
		if peer == node {
			continue
		}
		count++
		reason := a.blocked[path{revision, node, peer}]
		if reason == "" {
			verified++
			continue
		}
		failing = append(failing, map[string]any{"node": peer, "reason": reason, "message": "no answer from " + peer})
	}
	return map[string]any{
		"revision": revision, "peers": count, "verified": verified, "failingCount": int64(len(failing)), "failing": failing[:min(len(failing), 16)],
	}
}

// report applies a status as that node's agent, with that agent's rights.
func (a *agents) report(ctx context.Context, nn *v1alpha1.NodeNetwork, report map[string]any) error {
	obj := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": nn.Name}, "status": runtime.DeepCopyJSON(report),
	}}
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
