package kubelet

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestModulesShareTheirCompiler wants what the control plane and the kubelets are built from to be the same versions where both
// need it: one that differs has most of Kubernetes compiled twice, ten minutes on two cores.
func TestModulesShareTheirCompiler(t *testing.T) {
	versions := func(dir string) map[string]string {
		raw, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(dir, "go.mod")).Output()
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Require []struct{ Path, Version string }
		}
		if err := json.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, r := range file.Require {
			out[r.Path] = r.Version
		}
		return out
	}
	controlPlane, nodes := versions("../controlplane"), versions("build/kubernetes")
	for path, version := range controlPlane {
		if other, ok := nodes[path]; ok && other != version {
			t.Errorf("%s: the control plane has %s, nodes have %s: `go get` the newer one in both", path, version, other)
		}
	}
}
