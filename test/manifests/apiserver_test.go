package manifests

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// One after the other, in one cluster: with Helm first, which leaves the CRDs, then with kubectl over them.
func TestInstall(t *testing.T) {
	t.Run("helm", installWithHelm)
	t.Run("kubectl", installWithKubectl)
	t.Run("deleted in the wrong order", deletedInTheWrongOrder)
	t.Run("other names", installUnderOtherNames)
}

func installWithKubectl(t *testing.T) {
	manifests := render(t, "config/default")
	kubectl(t, manifests, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
	if out := kubectl(t, manifests, "diff", "--server-side", "--force-conflicts", "-f", "-"); out != "" {
		t.Errorf("applied, and still different:\n%s", out)
	}
	// What the API server has made of them is what was meant: no field was dropped, no pod would be refused.
	for _, of := range []string{"deployment/hopsack-controller", "daemonset/hopsack-agent"} {
		out := kubectl(t, nil, "--namespace", "hopsack-system", "get", of, "-o", "yaml")
		var o struct {
			Spec struct{ Template corev1.PodTemplateSpec }
		}
		if err := yaml.Unmarshal([]byte(out), &o); err != nil {
			t.Fatal(err)
		}
		pod := corev1.Pod{ObjectMeta: o.Spec.Template.ObjectMeta, Spec: o.Spec.Template.Spec}
		pod.APIVersion, pod.Kind, pod.Name = "v1", "Pod", "try"
		text, err := yaml.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if out := kubectl(t, text, "--namespace", "hopsack-system", "create", "--dry-run=server", "-f", "-"); strings.Contains(out, "Warning") {
			t.Errorf("a pod of %s: %s", of, out)
		}
	}
	flowsOfAgents(t)
}

// flowsOfAgents checks that what an agent asks for does not queue behind what other pods ask for.
func flowsOfAgents(t *testing.T) {
	t.Helper()
	uid := strings.TrimSpace(kubectl(t, nil, "get", "flowschema", "hopsack", "-o", "jsonpath={.metadata.uid}"))
	config := rest.CopyConfig(admin)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:any:name", Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for path, ours := range map[string]bool{
		"/apis/net.hopsack.dev/v1alpha1/subnetleases": true,
		"/apis/net.hopsack.dev/v1alpha1/nodenetworks": true,
		"/api/v1/pods": false,
	} {
		response, err := client.Do(request(t, config.Host+path))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("X-Kubernetes-PF-FlowSchema-UID"); (got == uid) != ours {
			t.Errorf("%s: flow schema %q, hopsack's is %q; want it taken: %v", path, got, uid, ours)
		}
	}
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const network = `apiVersion: net.hopsack.dev/v1alpha1
kind: NetworkConfig
metadata: {name: default}
spec: {network: 10.244.0.0/16, backend: {type: vxlan}}
`

func installWithHelm(t *testing.T) {
	install := []string{"hopsack", "charts/hopsack", "--namespace", "hopsack-helm"}
	helm(t, append([]string{"install", "--create-namespace"}, install...)...)
	kubectl(t, []byte(network), "apply", "-f", "-")
	uid := kubectl(t, nil, "get", "networkconfig", "default", "-o", "jsonpath={.metadata.uid}")

	helm(t, append([]string{"upgrade", "--set", "controller.replicas=3", "--set", "apiServer.host=192.0.2.10"}, install...)...)
	if got := kubectl(t, nil, "--namespace", "hopsack-helm", "get", "deployment", "hopsack-controller", "-o", "jsonpath={.spec.replicas}"); got != "3" {
		t.Errorf("upgraded: got %s controllers, want 3", got)
	}
	if got := kubectl(t, nil, "--namespace", "hopsack-helm", "get", "configmap", "hopsack-apiserver", "-o", "jsonpath={.data.KUBERNETES_SERVICE_HOST}"); got != "192.0.2.10" {
		t.Errorf("upgraded: the API server is at %q", got)
	}
	helm(t, "rollback", "hopsack", "1", "--namespace", "hopsack-helm")
	helm(t, "uninstall", "hopsack", "--namespace", "hopsack-helm")
	if got := kubectl(t, nil, "get", "networkconfig", "default", "-o", "jsonpath={.metadata.uid}"); got != uid {
		t.Errorf("uninstalled: the NetworkConfig is %q, was %q", got, uid)
	}
	for _, kind := range []string{"clusterroles", "clusterrolebindings", "flowschemas", "validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		if out := kubectl(t, nil, "get", kind, "--selector", "app.kubernetes.io/name=hopsack", "-o", "name"); out != "" {
			t.Errorf("uninstalled, and left behind: %s", out)
		}
	}
}
