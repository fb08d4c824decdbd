package manifests

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// deletedInTheWrongOrder deletes what is installed with a network in use, as docs/uninstall.md has it: kubectl neither waits nor
// deletes what pods go by, and applying the manifests again is all there is to do.
func deletedInTheWrongOrder(t *testing.T) {
	manifests := render(t, "config/default")
	kubectl(t, []byte(network), "apply", "--server-side", "-f", "-")
	t.Cleanup(func() { kubectl(t, nil, "delete", "networkconfig", "default") })
	const all = "crd,networkconfig"
	before := kubectl(t, nil, "get", all, "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.metadata.deletionTimestamp}{\"\\n\"}{end}")

	const advice = `Run "kubectl hopsack uninstall --crds"`
	eventually(t, "what keeps the CRDs", "3", func() string {
		out, _ := run(t, manifests, filepath.Join(programs, "kubectl"), "delete", "--dry-run=server", "-f", "-")
		return strconv.Itoa(strings.Count(out, advice))
	})
	out, err := run(t, manifests, filepath.Join(programs, "kubectl"), "delete", "-f", "-")
	if err == nil || strings.Count(out, advice) != 3 {
		t.Errorf("kubectl delete: %v: %s", err, out)
	}
	if strings.Contains(kubectl(t, nil, "get", "clusterroles,daemonsets", "-A", "-o", "name"), "hopsack") {
		t.Error("the rest is not deleted")
	}
	if after := kubectl(t, nil, "get", all, "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.metadata.deletionTimestamp}{\"\\n\"}{end}"); after != before {
		t.Errorf("CRDs and NetworkConfig were\n%s, are\n%s", before, after)
	}
	endNamespace(t, "hopsack-system")
	kubectl(t, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// endNamespace does what kube-controller-manager does, which is not here: it takes the finalizer off a namespace in deletion.
func endNamespace(t *testing.T, name string) {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(kubectl(t, nil, "get", "namespace", name, "-o", "json")), &o); err != nil {
		t.Fatal(err)
	}
	o["spec"] = map[string]any{}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, text, "replace", "--raw", "/api/v1/namespaces/"+name+"/finalize", "-f", "-")
}
