package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The tests run in the root of the repository, as the command does.
func TestMain(m *testing.M) {
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// helm runs the pinned helm.
func helm(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "-modfile=hack/tools/helm/go.mod", "helm"}, args...)...)
	// Nothing of the user's, and nothing into it.
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return problem.Bytes(), err
	}
	return out, nil
}

// render is what the chart installs into a namespace with some values.
func render(t *testing.T, namespace string, set ...string) map[string]object {
	t.Helper()
	args := []string{"template", "hopsack", "charts/hopsack", "--namespace", namespace, "--kube-version", "v1.32.0"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	out, err := helm(t, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	objects, err := parse(out)
	if err != nil {
		t.Fatal(err)
	}
	return byID(t, objects)
}

func byID(t *testing.T, objects []object) map[string]object {
	t.Helper()
	out := map[string]object{}
	for _, o := range objects {
		if out[o.id()] != nil {
			t.Errorf("%s is there twice", o.id())
		}
		out[o.id()] = o
	}
	return out
}

func kustomize(t *testing.T, dirs ...string) map[string]object {
	t.Helper()
	var all []object
	for _, dir := range dirs {
		objects, err := build(dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objects...)
	}
	return byID(t, all)
}

// dropKeep takes off the one thing the chart adds to the manifests: what keeps CRDs when a release is uninstalled.
func dropKeep(t *testing.T, objects map[string]object) {
	t.Helper()
	for id, o := range objects {
		if o.kind() != "CustomResourceDefinition" {
			continue
		}
		annotations := o["metadata"].(map[string]any)["annotations"].(map[string]any)
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would go with the release, and every object with it", id)
		}
		delete(annotations, "helm.sh/resource-policy")
	}
}

func TestChartIsCurrent(t *testing.T) {
	base, err := build("config/default")
	if err != nil {
		t.Fatal(err)
	}
	monitoring, err := build("config/monitoring")
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(base, monitoring)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	err = filepath.WalkDir("charts/hopsack", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel("charts/hopsack", path)
		found[name] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("charts/hopsack", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current: run make generate (%v)", name, err)
		}
		delete(found, name)
	}
	if len(found) > 0 {
		t.Errorf("nothing generates %v", slices.Collect(maps.Keys(found)))
	}
}

func TestChartRendersWhatKustomizeRenders(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace string
		set       []string
		dirs      []string
		without   string
	}{
		"everything kubectl would apply": {"hopsack-system", []string{"namespace.create=true"}, []string{"config/default"}, ""},
		"defaults: helm makes the namespace": {
			"hopsack-system", nil, []string{"config/default"}, "Namespace/hopsack-system",
		},
		"with monitoring": {
			"hopsack-system", []string{"namespace.create=true", "serviceMonitor.enabled=true", "dashboard.enabled=true"},
			[]string{"config/default", "config/monitoring"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := render(t, tc.namespace, tc.set...)
			dropKeep(t, got)
			want := kustomize(t, tc.dirs...)
			delete(want, tc.without)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("chart (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// overlay writes a kustomization over config/default and renders it.
func overlay(t *testing.T, text string) map[string]object {
	t.Helper()
	// kustomize reads bases by relative paths only.
	dir, err := os.MkdirTemp("config", ".overlay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../default]\n" + text
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, dir)
}

func TestAnotherNamespace(t *testing.T) {
	got := render(t, "net", "namespace.create=true")
	dropKeep(t, got)
	want := overlay(t, "namespace: net\n")
	for _, o := range want {
		// kustomize does not know that they have none; the API server does, see test/manifests.
		if slices.Contains([]string{"FlowSchema", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, o.kind()) {
			delete(o["metadata"].(map[string]any), "namespace")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("namespace net (-kustomize +helm):\n%s", diff)
	}
}

// With another namespace and a prefix, what refers to something still refers to what is there.
func TestAnotherNamespaceAndPrefix(t *testing.T) {
	objects := overlay(t, "namespace: net\nnamePrefix: my-\n")
	field := func(id, path string) any {
		t.Helper()
		v, err := lookup(objects[id], path)
		if err != nil {
			t.Errorf("%s of %s: %v", path, id, err)
		}
		return v
	}
	for _, c := range []string{"controller", "agent"} {
		if objects["ServiceAccount/my-hopsack-"+c] == nil {
			t.Errorf("no account for the %s among %v", c, slices.Sorted(maps.Keys(objects)))
		}
		binding := "ClusterRoleBinding/my-hopsack-" + c
		if got := field(binding, "subjects/my-hopsack-"+c+"/namespace"); got != "net" {
			t.Errorf("%s binds an account in %v", binding, got)
		}
		if got := field(binding, "roleRef/name"); got != "my-hopsack-"+c {
			t.Errorf("%s binds the role %v", binding, got)
		}
	}
	if got := field("Deployment/my-hopsack-controller", pod+"serviceAccountName"); got != "my-hopsack-controller" {
		t.Errorf("the controller has the account %v", got)
	}
	if got := field("DaemonSet/my-hopsack-agent", pod+"serviceAccountName"); got != "my-hopsack-agent" {
		t.Errorf("the agent has the account %v", got)
	}
	for id, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		const confines = "hopsack-nodenetworks" // the controller looks for it by its name, and may read no other
		if all, renamed := strings.Count(string(text), confines), strings.Count(string(text), "my-"+confines); all != renamed {
			t.Errorf("%s names the policy by what it is called elsewhere:\n%s", id, text)
		}
		if o.kind() != "ValidatingAdmissionPolicyBinding" {
			continue
		}
		policy := field(id, "spec/policyName")
		if objects["ValidatingAdmissionPolicy/"+policy.(string)] == nil {
			t.Errorf("%s binds the policy %v, which is not there: every agent could write every node's report", id, policy)
		}
	}
}

func TestValues(t *testing.T) {
	const annotations = "spec/template/metadata/annotations"
	objects := render(t, "hopsack-system", "controller.replicas=3", "agent.image.digest=sha256:"+strings.Repeat("0", 64),
		"controller.image.tag=v9", "apiServer.host=10.0.0.1", "cni.binDir=/opt/other", "imagePullSecrets[0].name=pull",
		"crds.keep=false", "flowSchema.create=false", "agent.tolerations=null")
	for _, tc := range []struct {
		id, path string
		want     any
	}{
		{deployment, "spec/replicas", 3.0},
		{deployment, pod + "containers/controller/image", "ghcr.io/hopsack-net/hopsack-controller:v9"},
		{deployment, pod + "imagePullSecrets", []any{map[string]any{"name": "pull"}}},
		{daemonSet, pod + "containers/agent/image", "ghcr.io/hopsack-net/hopsack-agent@sha256:" + strings.Repeat("0", 64)},
		{daemonSet, pod + "initContainers/install-cni/image", "ghcr.io/hopsack-net/hopsack-agent@sha256:" + strings.Repeat("0", 64)},
		{daemonSet, pod + "volumes/cni-bin/hostPath/path", "/opt/other"},
		{daemonSet, pod + "imagePullSecrets", []any{map[string]any{"name": "pull"}}},
		{"ConfigMap/hopsack-apiserver", "data/KUBERNETES_SERVICE_HOST", "10.0.0.1"},
		{"ConfigMap/hopsack-apiserver", "data/KUBERNETES_SERVICE_PORT", "6443"},
		// Pods read it when they start: another address is another pod.
		{daemonSet, annotations, map[string]any{"kubectl.kubernetes.io/default-container": "agent", "net.hopsack.dev/apiserver": "10.0.0.1:6443"}},
		{deployment, annotations, map[string]any{"kubectl.kubernetes.io/default-container": "controller", "net.hopsack.dev/apiserver": "10.0.0.1:6443"}},
	} {
		got, err := lookup(objects[tc.id], tc.path)
		if err != nil {
			t.Errorf("%s of %s: %v", tc.path, tc.id, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s of %s (-want +got):\n%s", tc.path, tc.id, diff)
		}
	}
	if objects["FlowSchema/hopsack"] != nil {
		t.Error("the FlowSchema is there")
	}
	if _, err := lookup(objects["CustomResourceDefinition/networkconfigs.net.hopsack.dev"], "metadata/annotations/helm.sh~1resource-policy"); err == nil {
		t.Error("the CRD is kept")
	}
}

// What is not a value, or not of its type, is refused with the name of the field.
func TestValuesRefused(t *testing.T) {
	for set, want := range map[string]string{
		"agent.tollerations=null":                         "'/agent': additional properties 'tollerations'",
		"controler.replicas=1":                            "additional properties 'controler'",
		"controller.replicas=0":                           "'/controller/replicas': minimum",
		"controller.replicas=two":                         "'/controller/replicas': got string, want integer",
		"cni.binDir=opt":                                  "'/cni/binDir'",
		"agent.image.digest=latest":                       "'/agent/image/digest'",
		"agent.image=hopsack":                             "'/agent/image': got string, want object",
		"apiServer.port=70000":                            "'/apiServer/port': maximum",
		"crds.keep=maybe":                                 "'/crds/keep': got string, want boolean",
		"agent.args=-v=1":                                 "'/agent/args': got string, want array",
		"agent.args[0]=5":                                 "'/agent/args/0': got number, want string",
		"controller.resources.limts.memory=1Gi":           "'/controller/resources': additional properties 'limts'",
		"agent.resources.limits.memory=true":              "'/agent/resources/limits/memory': got boolean",
		"agent.tolerations[0].opertor=Exists":             "'/agent/tolerations/0': additional properties 'opertor'",
		"controller.tolerations[0].operator=Exist":        "'/controller/tolerations/0/operator'",
		"agent.nodeSelector.pool=1":                       "'/agent/nodeSelector/pool': got number, want string",
		"agent.updateStrategy.rollingUpdate.maxUnavail=1": "'/agent/updateStrategy/rollingUpdate': additional properties 'maxUnavail'",
		"controller.affinity.podAntiAfinity.x=1":          "'/controller/affinity': additional properties 'podAntiAfinity'",
		"imagePullSecrets[0]=pull":                        "'/imagePullSecrets/0': got string, want object",
		"serviceMonitor.labels.release=true":              "'/serviceMonitor/labels/release': got boolean, want string",
	} {
		if out, err := helm(t, "template", "hopsack", "charts/hopsack", "--kube-version", "v1.32.0", "--set", set); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: got %v: %.300s; want it refused with %q", set, err, out, want)
		}
	}
	if out, err := helm(t, "lint", "charts/hopsack"); err != nil {
		t.Errorf("lint: %v: %s", err, out)
	}
}

// Nothing of a manifest may be read as a template, and nothing that is to be a value may be gone from the manifests.
func TestGenerateRefuses(t *testing.T) {
	both := func() (base, monitoring []object) {
		base, err := build("config/default")
		if err != nil {
			t.Fatal(err)
		}
		if monitoring, err = build("config/monitoring"); err != nil {
			t.Fatal(err)
		}
		return base, monitoring
	}
	for name, tc := range map[string]struct {
		change func(map[string]object)
		want   string
	}{
		"a value's field is gone": {
			func(o map[string]object) { delete(o[deployment]["spec"].(map[string]any), "replicas") }, "value controller.replicas: ",
		},
		"a namespace where nobody looks": {
			func(o map[string]object) {
				o["FlowSchema/hopsack"]["x"] = map[string]any{"namespace": "hopsack-system"}
			}, "unexpected place",
		},
		"two images in one pod": {
			func(o map[string]object) {
				_ = replace(o[daemonSet], pod+"initContainers/install-cni/image", "other:v1")
			}, "several images",
		},
	} {
		t.Run(name, func(t *testing.T) {
			base, monitoring := both()
			tc.change(byID(t, base))
			if _, err := generate(base, monitoring); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
