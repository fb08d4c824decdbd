package install

import (
	"os"
	"path/filepath"
	"testing"
)

// underOtherNames installs with an overlay of kustomize that gives everything another namespace and prefix, changes the backend
// under the pods, and uninstalls as docs/uninstall.md says.
func underOtherNames(t *testing.T, w *world) {
	s := site{namespace: "net-x", prefix: "y-"}
	if err := w.Install(t.Context(), w.overlay(t, s)); err != nil {
		t.Fatal(err)
	}
	w.network(t)
	// Its pods were admitted under what its namespace says of itself.
	if got := w.kubectl(t, "get", "namespace", s.namespace, "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); got != "privileged" {
		t.Errorf("pod security enforces %q", got)
	}
	t.Run("rights", func(t *testing.T) { w.confined(t, s) })
	t.Run("containers", func(t *testing.T) { w.containersMay(t, s) })
	for _, spec := range []string{
		`{"spec":{"backend":{"type":"udp"}}}`,
		`{"spec":{"backend":{"type":"vxlan","vxlan":{"vni":9,"directRouting":"Verified"}}}}`,
	} {
		w.kubectl(t, "patch", "networkconfig", "default", "--type=merge", "-p", spec)
		w.kubectl(t, "hopsack", "rollout", "status", "--timeout=2m")
		w.allTalk(t)
	}
	w.withoutPods(t)
	t.Log(w.kubectl(t, "hopsack", "uninstall", "--yes", "--crds"))
	w.leavesNothing(t)
}

// overlay writes a kustomization of config/default under other names, and returns its folder.
func (w *world) overlay(t *testing.T, s site) string {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(w.Root, "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + base + "]\nnamespace: " + s.namespace + "\nnamePrefix: " + s.prefix + "\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
