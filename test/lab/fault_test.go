package lab_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab"
)

func stepPause(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	path, _ := place(t, c, "n1")
	health := netip.MustParseAddrPort("127.0.0.1:10473")
	for _, name := range []string{lab.Agent("n1"), lab.Controller} {
		pid, err := c.PID(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Pause(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if !c.Paused(name) || !c.Running(name) {
			t.Errorf("%s: paused %t, running %t; want both", name, c.Paused(name), c.Running(name))
		}
		if name != lab.Controller && answers(path, health) {
			t.Errorf("%s answers while it is paused", name)
		}
		for range 2 {
			if err := c.Resume(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if again, err := c.PID(name); err != nil || again != pid || c.Paused(name) {
			t.Errorf("%s after a pause: pid %d, %v, paused %t; want %d, going on", name, again, err, c.Paused(name), pid)
		}
	}
	if !answers(path, health) {
		t.Error("the agent does not answer after its pause")
	}
	// One that stands still can be stopped and killed like any other.
	for _, end := range []func() error{
		func() error { return c.Stop(ctx, lab.Agent("n1")) }, func() error { return c.Kill(ctx, lab.Agent("n1")) },
	} {
		if err := c.Pause(ctx, lab.Agent("n1")); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Errorf("end of a paused agent: %v", err)
		}
		if err := c.Pause(ctx, lab.Agent("n1")); err == nil {
			t.Error("an agent that does not run was paused")
		}
		if err := c.Resume(ctx, lab.Agent("n1")); err == nil {
			t.Error("an agent that does not run was resumed")
		}
		if err := c.Start(ctx, lab.Agent("n1")); err != nil {
			t.Fatal(err)
		}
	}
}

// answers says whether an HTTP server answers its health check within a second.
func answers(path string, to netip.AddrPort) bool {
	ok := false
	_ = lab.WithNetNS(path, func() error {
		conn, err := net.DialTimeout("tcp", to.String(), time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("GET /healthz HTTP/1.0\r\n\r\n")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		ok = err == nil
		return nil
	})
	return ok
}

func stepCut(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	for _, name := range []string{"n1", "n2", "n3", "client"} {
		path, addr := place(t, c, name)
		serve(t, path, netip.AddrPortFrom(addr, 7002))
	}
	reached := func(node string) string { return reach(t, c, node) }
	const all = "to n1, from n1, to n2, from n2, to client, from client"
	for _, tc := range []struct {
		node string
		cut  []lab.Cut
		want string
	}{
		{"n3", []lab.Cut{lab.CutAPI}, all},
		{"n3", []lab.Cut{lab.CutPeers}, "api"},
		{"n3", []lab.Cut{lab.CutAPI, lab.CutPeers}, ""},
		{"n2", []lab.Cut{lab.CutAPI}, "to n1, from n1, to n3, from n3, to client, from client"},
		{"n2", []lab.Cut{lab.CutPeers}, "api"},
		{"n2", []lab.Cut{lab.CutAll}, ""},
	} {
		for _, what := range tc.cut {
			for range 2 {
				if err := c.Cut(ctx, tc.node, what); err != nil {
					t.Fatal(err)
				}
			}
		}
		if diff := cmp.Diff(tc.want, reached(tc.node)); diff != "" {
			t.Errorf("%s cut from %v reaches (-want +got):\n%s", tc.node, tc.cut, diff)
		}
		if got := faults(t, c, tc.node); !strings.Contains(got, "cut from "+string(tc.cut[0])) {
			t.Errorf("status says %q of %s, which is cut from %v", got, tc.node, tc.cut)
		}
		for range 2 {
			if err := c.Uncut(ctx, tc.node); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := reached("n3"); got != "api, "+all {
		t.Errorf("n3 after its cuts reaches %s", got)
	}
	if out := mustExec(t, c, "switch", "nft", "list", "ruleset"); out != "" {
		t.Errorf("left in the switch: %s", out)
	}
	if out := mustExec(t, c, "n2", "nft", "list", "ruleset"); strings.Contains(out, "lab") {
		t.Errorf("a cut left something on the node: %s", out)
	}
	if err := c.Cut(ctx, "n9", lab.CutAll); err == nil {
		t.Error("an unknown node was cut off")
	}
	if err := c.Cut(ctx, "n1", "dns"); err == nil || !strings.Contains(err.Error(), "api, peers or all") {
		t.Errorf("unknown cut: got %v, want the cuts that exist", err)
	}
}

// reach returns whom a node reaches and who reaches it, by TCP, the control plane first. It asks all at once: what was cut
// does not answer.
func reach(t *testing.T, c *lab.Cluster, node string) string {
	t.Helper()
	from, own := place(t, c, node)
	type question struct {
		name, path string
		to         netip.AddrPort
	}
	questions := []question{{"api", from, netip.MustParseAddrPort("172.30.0.10:6443")}}
	for _, other := range []string{"n1", "n2", "n3", "client"} {
		if path, addr := place(t, c, other); other != node {
			questions = append(questions,
				question{"to " + other, from, netip.AddrPortFrom(addr, 7002)}, question{"from " + other, path, netip.AddrPortFrom(own, 7002)})
		}
	}
	answered := make([]bool, len(questions))
	var wg sync.WaitGroup
	for i, q := range questions {
		wg.Go(func() { answered[i] = quick(q.path, q.to) })
	}
	wg.Wait()
	var out []string
	for i, q := range questions {
		if answered[i] {
			out = append(out, q.name)
		}
	}
	return strings.Join(out, ", ")
}

// quick makes one connection, and does not wait long for what was cut.
func quick(path string, to netip.AddrPort) bool {
	return lab.WithNetNS(path, func() error {
		conn, err := net.DialTimeout("tcp", to.String(), time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}) == nil
}

// faults is what `lab status` says of a node's faults.
func faults(t *testing.T, c *lab.Cluster, node string) string {
	t.Helper()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range st.Nodes {
		if n.Node.Name == node {
			return strings.Join(n.Faults, ", ")
		}
	}
	return ""
}

func stepNodeReady(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	ready := func() corev1.NodeCondition {
		var n corev1.Node
		if err := api(t, c).Get(ctx, client.ObjectKey{Name: "n2"}, &n); err != nil {
			t.Fatal(err)
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady {
				return cond
			}
		}
		return corev1.NodeCondition{}
	}
	since := time.Now().Add(-2 * time.Minute)
	if err := c.SetNodeReady(ctx, "n2", false, since); err != nil {
		t.Fatal(err)
	}
	if got := ready(); got.Status != corev1.ConditionUnknown || got.LastTransitionTime.Unix() != since.Unix() {
		t.Errorf("condition: got %s since %s, want Unknown since %s", got.Status, got.LastTransitionTime, since)
	}
	if got := faults(t, c, "n2"); !strings.HasPrefix(got, "not Ready for 2m") {
		t.Errorf("status says %q of a node that is not Ready", got)
	}
	if err := c.SetNodeReady(ctx, "n2", true, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := ready(); got.Status != corev1.ConditionTrue || time.Since(got.LastTransitionTime.Time) > time.Minute {
		t.Errorf("condition: got %s since %s, want True since now", got.Status, got.LastTransitionTime)
	}
	if err := c.SetNodeReady(ctx, "n9", true, time.Time{}); err == nil {
		t.Error("an unknown node was made Ready")
	}
}

// stepDelay watches leases through the agent's way to the API server.
func stepDelay(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	agent := lab.Agent("n2")
	before, err := c.PID(agent)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delay(ctx, agent, "leases", 0); err != nil {
		t.Fatal(err)
	}
	if pid, err := c.PID(agent); err != nil || pid != before {
		t.Errorf("a delay of 0 replaced the agent: pid %d, %v; it was %d", pid, err, before)
	}
	const lag = time.Second
	for range 2 {
		if err := c.Delay(ctx, agent, "leases", lag); err != nil {
			t.Fatal(err)
		}
	}
	behind, err := c.PID(agent)
	if err != nil || behind == before {
		t.Errorf("the agent is not behind the proxy: pid %d, %v; it was %d", behind, err, before)
	}
	cmdline := mustExec(t, c, "n2", "sh", "-c", "tr '\\0' ' ' </proc/[0-9]*/cmdline; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; true")
	if want := "--kubeconfig=" + c.Credentials("proxy/n2"); !strings.Contains(cmdline, want) {
		t.Errorf("no program on n2 has %s", want)
	}
	if got := faults(t, c, "n2"); got != "leases 1s late" {
		t.Errorf("status says %q", got)
	}
	if took := leaseArrives(t, c, "10.244.77.0-24"); took < lag {
		t.Errorf("a lease arrived after %s, want %s or more", took, lag)
	}
	// It outlasts a reboot, and can be ended without another restart.
	if err := c.RebootNode(ctx, "n2"); err != nil {
		t.Fatal(err)
	}
	if took := leaseArrives(t, c, "10.244.78.0-24"); took < lag {
		t.Errorf("after a reboot a lease arrived after %s, want %s or more", took, lag)
	}
	if behind, err = c.PID(agent); err != nil {
		t.Fatal(err)
	}
	if err := c.Delay(ctx, agent, "leases", 0); err != nil {
		t.Fatal(err)
	}
	if took := leaseArrives(t, c, "10.244.79.0-24"); took >= lag {
		t.Errorf("a lease arrived after %s although the delay has ended", took)
	}
	if pid, err := c.PID(agent); err != nil || pid != behind {
		t.Errorf("the end of a delay replaced the agent: pid %d, %v; it was %d", pid, err, behind)
	}
	for _, bad := range []struct {
		component, resource string
		d                   time.Duration
	}{{lab.Controller, "leases", lag}, {agent, "pods", lag}, {agent, "leases", -lag}, {lab.Agent("n9"), "leases", lag}} {
		if err := c.Delay(ctx, bad.component, bad.resource, bad.d); err == nil {
			t.Errorf("delay of %s %s by %s was accepted", bad.component, bad.resource, bad.d)
		}
	}
}

// leaseArrives makes a lease and returns how long it took until the watch of n2's agent, as the proxy has it, showed it.
func leaseArrives(t *testing.T, c *lab.Cluster, name string) time.Duration {
	t.Helper()
	path, _ := place(t, c, "n2")
	var resp *http.Response
	err := c.Wait(t.Context(), "the watch", func() (bool, error) {
		err := lab.WithNetNS(path, func() error {
			conn, err := net.Dial("tcp", "127.0.0.1:6444")
			if err != nil {
				return err
			}
			web := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
			resp, err = web.Get("http://127.0.0.1:6444/apis/net.hopsack.dev/v1alpha1/subnetleases?watch=true")
			return err
		})
		// An API server that has just started says so.
		return err == nil && resp.StatusCode == http.StatusOK, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := time.Now()
	subnet := strings.Replace(name, "-", "/", 1)
	lease := &v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.SubnetLeaseSpec{Subnet: subnet, NodeName: "n9"}}
	if err := api(t, c).Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(resp.Body)
	for {
		var event struct{ Object v1alpha1.SubnetLease }
		if err := decoder.Decode(&event); err != nil {
			t.Fatal(err)
		}
		if event.Object.Name == name {
			return time.Since(start)
		}
	}
}

// nodeBootID is what the Node object says.
func nodeBootID(t *testing.T, c *lab.Cluster, name string) string {
	t.Helper()
	var n corev1.Node
	if err := api(t, c).Get(t.Context(), client.ObjectKey{Name: name}, &n); err != nil {
		t.Fatal(err)
	}
	return n.Status.NodeInfo.BootID
}
