package manifests

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Another namespace and prefix, as an overlay of kustomize has them, which gives a namespace also to kinds that have none. The
// controller is elected, finds the policy that confines agents, and the policy does.
func installUnderOtherNames(t *testing.T) {
	kubectl(t, nil, "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "hopsack-nodenetworks")
	dir, err := os.MkdirTemp(filepath.Join(root, "config"), ".overlay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../default]\nnamespace: net\nnamePrefix: my-\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o644); err != nil {
		t.Fatal(err)
	}
	manifests := render(t, dir)
	kubectl(t, manifests, "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
	for _, object := range []string{
		"validatingadmissionpolicy/my-hopsack-nodenetworks", "validatingadmissionpolicybinding/my-hopsack-nodenetworks", "flowschema/my-hopsack",
		"clusterrole/my-hopsack-agent",
	} {
		kubectl(t, nil, "get", object)
	}
	for account, may := range map[string]string{"agent": "no", "controller": "yes"} {
		out, _ := run(t, nil, filepath.Join(programs, "kubectl"), "auth", "can-i", "update", "nodenetworks.net.hopsack.dev",
			"--as", "system:serviceaccount:net:my-hopsack-"+account)
		if got := strings.TrimSpace(out); !strings.HasSuffix(got, may) {
			t.Errorf("may the %s update nodenetworks: got %q, want %s", account, got, may)
		}
	}
	kubectl(t, []byte(network), "apply", "-f", "-")
	kubectl(t, []byte(twoNodes), "apply", "-f", "-")
	runController(t, "net", "my-hopsack-controller")
	eventually(t, "the controller to find the policy", "Confined NotStalled", func() string {
		return kubectl(t, nil, "get", "networkconfig", "default", "-o",
			`jsonpath={.status.conditions[?(@.type=="AgentsConfined")].reason} {.status.conditions[?(@.type=="Stalled")].reason}`)
	})
	eventually(t, "NodeNetworks", "n1 n2", func() string {
		return kubectl(t, nil, "get", "nodenetworks", "-o", "jsonpath={.items[*].metadata.name}")
	})
	agentConfined(t, "net", "my-hopsack-agent")
}

const twoNodes = `{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}}
`

// runController runs the program as the Deployment has it, with the rights of its account, until the test ends.
func runController(t *testing.T, namespace, deployment string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hopsack-controller")
	must(t, nil, "go", "build", "-o", program, "./cmd/hopsack-controller")
	get := func(path string) string {
		return kubectl(t, nil, "--namespace", namespace, "get", "deployment", deployment, "-o", "jsonpath={.spec.template.spec."+path+"}")
	}
	account := get("serviceAccountName")
	config := changedKubeconfig(t, func(user *clientcmdapi.AuthInfo) {
		user.Impersonate = "system:serviceaccount:" + namespace + ":" + account
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	})
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--kubeconfig", config, "--leader-election-namespace", namespace,
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), "ADMISSION_POLICY="+get(`containers[0].env[?(@.name=="ADMISSION_POLICY")].value`))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the controller wrote:\n%s", &log)
		}
	})
}

// agentConfined checks, with a token as the agent's pod on n1 has it, that it writes the report of n1 and no other node's.
func agentConfined(t *testing.T, namespace, account string) {
	t.Helper()
	pod := "{apiVersion: v1, kind: Pod, metadata: {name: agent, namespace: " + namespace + "}, spec: {nodeName: n1, serviceAccountName: " + account +
		", containers: [{name: agent, image: agent}]}}"
	kubectl(t, []byte(pod), "apply", "-f", "-")
	token := strings.TrimSpace(kubectl(t, nil, "--namespace", namespace, "create", "token", account, "--bound-object-kind=Pod", "--bound-object-name=agent"))
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(node string) string {
		url := strings.TrimSuffix(config.Host, "/") + "/apis/net.hopsack.dev/v1alpha1/nodenetworks/" + node + "/status"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, url, strings.NewReader(`{"status":{"interface":"eth0"}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/merge-patch+json")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode == http.StatusOK {
			return "written"
		}
		var status metav1.Status
		if err := json.Unmarshal(body, &status); err != nil {
			t.Fatalf("%s answers %s: %v: %s", url, response.Status, err, body)
		}
		_, why, _ := strings.Cut(status.Message, "denied request: ")
		return why
	}
	eventually(t, "the agent of n1 to be refused", "node n1 may write only its own NodeNetwork, not n2", func() string { return write("n2") })
	eventually(t, "the agent of n1 to be heard", "written", func() string { return write("n1") })
}

// changedKubeconfig writes the administrator's kubeconfig with another user.
func changedKubeconfig(t *testing.T, change func(*clientcmdapi.AuthInfo)) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		change(user)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func eventually(t *testing.T, what, want string, look func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got := look()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: got %q, want %q", what, got, want)
		}
	}
}
