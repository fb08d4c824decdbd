package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// world is the cluster of this package.
type world struct {
	*cluster.Cluster
	nodes []string
	// clean is what there was before hopsack.
	clean look
}

// site says where hopsack is installed, and under which names.
type site struct{ namespace, prefix string }

func (s site) name(name string) string { return s.prefix + name }

// One installation after the other, each gone without a trace before the next. The order is that of their surprises: other
// names first, on a cluster that has never seen hopsack.
func TestInstallations(t *testing.T) {
	w := &world{Cluster: cluster.ForTest(t, cluster.Options{}), nodes: []string{"n1", "n2", "n3"}}
	var err error
	if w.clean, err = w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"kustomize under other names", underOtherNames},
		{"helm in another namespace", withHelm},
		{"one file", fromOneFile},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, w) }) {
			t.FailNow() // what is left would be in the way of the others
		}
	}
}

// kubectl runs kubectl and returns what it printed.
func (w *world) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(out)
}

// create posts an object to a path of the API.
func (w *world) create(t *testing.T, path, body string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return w.Kubectl(t.Context(), "create", "--raw", path, "-f", file)
}

func (w *world) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.Helm(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

func (w *world) sh(t *testing.T, place, script string) string {
	t.Helper()
	out, err := w.Sh(t.Context(), place, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) soon(t *testing.T, desc string, done func() (bool, error)) {
	t.Helper()
	if err := w.Soon(t.Context(), desc, done); err != nil {
		t.Fatal(err)
	}
}

// network makes the network, and a pod on each node; they and the nodes reach each other.
func (w *world) network(t *testing.T) {
	t.Helper()
	if err := w.Network(t.Context(), w.Sample("networkconfig.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := w.Pods(t.Context(), "p1@n1", "p2@n2", "p3@n3"); err != nil {
		t.Fatal(err)
	}
	w.allTalk(t)
}

func (w *world) allTalk(t *testing.T) {
	t.Helper()
	for _, to := range []string{"p1", "p2", "p3"} {
		ip, err := w.PodIP(to)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{"p1", "p2", "p3", "n1", "n3"} {
			if got, err := w.Get(t.Context(), from, "http://"+ip.String()+":8080/hostname"); err != nil || got != to {
				t.Errorf("%s asks %s: got %q: %v", from, to, got, err)
			}
		}
	}
}

// withoutPods deletes everything that has an address of the network.
func (w *world) withoutPods(t *testing.T) {
	t.Helper()
	w.kubectl(t, "scale", "--namespace=kube-system", "deployment/coredns", "--replicas=0")
	w.kubectl(t, "delete", "pod", "p1", "p2", "p3", "--ignore-not-found")
	w.soon(t, "the name server to go", func() (bool, error) {
		out, err := w.Kubectl(t.Context(), "get", "pods", "--namespace=kube-system", "-o", "name")
		return strings.TrimSpace(out) == "", err
	})
}

// withNames starts the name server again.
func (w *world) withNames(t *testing.T) {
	t.Helper()
	w.kubectl(t, "scale", "--namespace=kube-system", "deployment/coredns", "--replicas=1")
}
