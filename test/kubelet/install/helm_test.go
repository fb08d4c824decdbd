package install

import (
	"slices"
	"strings"
	"testing"
)

const release = "hopsack"

// withHelm installs with Helm in a namespace of its own that pod security watches over, with values that a user would set, and
// takes it away in the order of docs/uninstall.md.
func withHelm(t *testing.T, w *world) {
	s := site{namespace: "net-h"}
	w.kubectl(t, "create", "namespace", s.namespace)
	w.kubectl(t, "label", "namespace", s.namespace, "pod-security.kubernetes.io/enforce=privileged")
	w.withNames(t)
	w.helm(t, "install", release, "charts/hopsack", "--namespace", s.namespace, "--set", "apiServer.host=172.30.0.10,apiServer.port=6443",
		"--set", "agent.resources.requests.cpu=30m,controller.image.repository=ghcr.io/hopsack-net/hopsack-controller")
	w.network(t)
	for what, want := range map[string]string{
		`daemonset/hopsack-agent {.spec.template.spec.containers[0].resources.requests.cpu}`: "30m",
		`configmap/hopsack-apiserver {.data.KUBERNETES_SERVICE_HOST}`:                        "172.30.0.10",
	} {
		object, path, _ := strings.Cut(what, " ")
		if got := w.kubectl(t, "get", object, "--namespace", s.namespace, "-o", "jsonpath="+path); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	w.asksAt(t, "172.30.0.10")
	t.Run("rights", func(t *testing.T) { w.confined(t, s) })
	t.Run("controllers", func(t *testing.T) { w.takeTurns(t, s) })
	t.Run("metrics", func(t *testing.T) { w.measured(t, s) })
	t.Run("upgrade", func(t *testing.T) { w.upgraded(t, s) })

	w.withoutPods(t)
	w.kubectl(t, "hopsack", "uninstall", "--yes")
	w.helm(t, "uninstall", release, "--namespace", s.namespace, "--wait")
	t.Log(w.kubectl(t, "hopsack", "uninstall", "--yes", "--crds"))
	w.kubectl(t, "delete", "namespace", s.namespace)
	w.leavesNothing(t)
}

// asksAt checks where agents and controllers have the API server.
func (w *world) asksAt(t *testing.T, host string) {
	t.Helper()
	for _, program := range []string{"hopsack-agent", "hopsack-controller"} {
		node := "n1"
		if program == "hopsack-controller" {
			node = w.controllers(t, site{namespace: "net-h"})[0]
		}
		out := w.sh(t, node, `for p in /proc/[0-9]*; do [ "$(tr '\0' '\n' <$p/cmdline | head -1)" = `+program+` ] && tr '\0' '\n' <$p/environ; done; true`)
		if !strings.Contains(out, "KUBERNETES_SERVICE_HOST="+host+"\n") || !strings.Contains(out, "KUBERNETES_SERVICE_PORT=6443\n") {
			t.Errorf("%s was told:\n%s", program, out)
		}
	}
}

// takeTurns checks that the two controllers are on two nodes, that evicting one keeps the other, and that the other takes over.
func (w *world) takeTurns(t *testing.T, s site) {
	w.kubectl(t, "rollout", "status", "--namespace", s.namespace, "deployment/hopsack-controller", "--timeout=2m")
	var pods []string // the leader's first
	nodes := map[string]bool{}
	leader := w.leader(t, s)
	for _, pair := range strings.Fields(w.kubectl(t, "get", "pods", "--namespace", s.namespace, "--selector=app.kubernetes.io/component=controller",
		"-o", `jsonpath={range .items[*]}{.metadata.name}@{.spec.nodeName}{"\n"}{end}`)) {
		pod, node, _ := strings.Cut(pair, "@")
		nodes[node] = true
		// Its identity begins with its host's name, which is the node's.
		if strings.HasPrefix(leader, node+"_") {
			pods = slices.Insert(pods, 0, pod)
		} else {
			pods = append(pods, pod)
		}
	}
	if len(pods) != 2 || len(nodes) != 2 {
		t.Fatalf("the controllers %v are on nodes %v", pods, nodes)
	}
	evict := func(pod string) error {
		_, err := w.create(t, "/api/v1/namespaces/"+s.namespace+"/pods/"+pod+"/eviction",
			`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"`+pod+`","namespace":"`+s.namespace+`"}}`)
		return err
	}
	if err := evict(pods[0]); err != nil {
		t.Fatalf("the first eviction: %v", err)
	}
	if err := evict(pods[1]); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		t.Errorf("the second eviction at once: %v, want the disruption budget to refuse it", err)
	}
	w.soon(t, "the other controller to take over", func() (bool, error) {
		now := w.leader(t, s)
		return now != "" && now != leader, nil
	})
	w.kubectl(t, "rollout", "status", "--namespace", s.namespace, "deployment/hopsack-controller", "--timeout=2m")
	if err := w.AwaitNetwork(t.Context()); err != nil {
		t.Error(err)
	}
}

// leader is the identity of the controller that works.
func (w *world) leader(t *testing.T, s site) string {
	t.Helper()
	return w.kubectl(t, "get", "lease", "--namespace", s.namespace, "hopsack-controller", "-o", "jsonpath={.spec.holderIdentity}")
}

// measured reads metrics as Prometheus does, from outside the nodes.
func (w *world) measured(t *testing.T, s site) {
	for service, figure := range map[string]string{
		"hopsack-agent-metrics": "hopsack_agent_ready 1", "hopsack-controller-metrics": "leader_election_master_status",
	} {
		endpoints := strings.Fields(w.kubectl(t, "get", "endpointslices", "--namespace", s.namespace, "--selector=kubernetes.io/service-name="+service,
			"-o", `jsonpath={range .items[*]}{range .endpoints[*]}{.addresses[0]}:{end}{.ports[0].port}{"\n"}{end}`))
		if len(endpoints) == 0 {
			t.Errorf("%s has no endpoints", service)
			continue
		}
		parts := strings.Split(endpoints[0], ":")
		port := parts[len(parts)-1]
		for _, address := range parts[:len(parts)-1] {
			if got, err := w.Get(t.Context(), "cp", "http://"+address+":"+port+"/metrics"); err != nil || !strings.Contains(got, "\n"+figure) {
				t.Errorf("%s at %s:%s: %v, without a figure %s", service, address, port, err, figure)
			}
		}
	}
}

// upgraded changes values of a release that runs, and takes them back.
func (w *world) upgraded(t *testing.T, s site) {
	args := func() string {
		return w.kubectl(t, "get", "daemonset/hopsack-agent", "--namespace", s.namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}")
	}
	before := args()
	w.helm(t, "upgrade", release, "charts/hopsack", "--namespace", s.namespace, "--reuse-values", "--set", "agent.args={--proc-sys=/host/proc/sys,-v=1}")
	if after := args(); after == before {
		t.Errorf("upgraded, and agents are still started with %s", after)
	}
	w.kubectl(t, "rollout", "status", "--namespace", s.namespace, "daemonset/hopsack-agent", "--timeout=2m")
	w.allTalk(t)
	w.helm(t, "rollback", release, "1", "--namespace", s.namespace)
	if after := args(); after != before {
		t.Errorf("rolled back, and agents are started with %s, not %s", after, before)
	}
	w.kubectl(t, "rollout", "status", "--namespace", s.namespace, "daemonset/hopsack-agent", "--timeout=2m")
	w.allTalk(t)
}
