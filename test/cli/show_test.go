package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
)

// member creates node ni with its subnet 10.244.i.0/24, as a running agent with directRouting Verified reports it.
func member(t *testing.T, i int, change func(*v1alpha1.NodeNetworkStatus)) {
	t.Helper()
	name, subnet := fmt.Sprintf("n%d", i), fmt.Sprintf("10.244.%d.0/24", i)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	create(t, node)
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	update(t, node)

	lease := &v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(subnet, "/", "-")},
		Spec: v1alpha1.SubnetLeaseSpec{Subnet: subnet, NodeName: name}}
	create(t, lease)
	lease.Status.PublicIP = fmt.Sprintf("172.30.0.%d", 10+i)
	lease.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Bound", LastTransitionTime: metav1.Now()}}
	update(t, lease)

	nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeNetworkSpec{
		Subnets: []v1alpha1.NodeSubnet{{Subnet: subnet, State: v1alpha1.SubnetBound}},
		Revisions: []v1alpha1.Revision{{ID: "aaaa1111", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN,
			VXLAN: &v1alpha1.VXLANBackend{VNI: new(int32(1)), Port: new(int32(8472)), DirectRouting: v1alpha1.DirectRoutingVerified}}}},
		Transmit: "aaaa1111",
	}}
	create(t, nn)
	nn.Status = v1alpha1.NodeNetworkStatus{
		ObservedGeneration: nn.Generation, Interface: "eth0", MTU: 1450, PreparedRevisions: []string{"aaaa1111"}, TransmitRevision: "aaaa1111",
		Verifications: []v1alpha1.Verification{{Revision: "aaaa1111", Peers: 2, Verified: 2}},
		Conditions:    []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Ready", LastTransitionTime: metav1.Now()}},
	}
	change(&nn.Status)
	update(t, nn)
}

func create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := api.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, obj client.Object) {
	t.Helper()
	if err := api.Status().Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

// threeNodes are n1 and n2 on one segment, whose direct path does not work from n2, and n3 behind a router.
func threeNodes(t *testing.T) {
	t.Helper()
	member(t, 1, func(s *v1alpha1.NodeNetworkStatus) { s.Paths = &v1alpha1.PathCounts{Direct: 1, Encapsulated: 1} })
	member(t, 2, func(s *v1alpha1.NodeNetworkStatus) {
		s.Paths = &v1alpha1.PathCounts{Direct: 0, Encapsulated: 2}
		s.Verifications[0].EncapsulatedCount = 1
		s.Verifications[0].Encapsulated = []v1alpha1.FailingPeer{{Node: "n1", Reason: "PodAddressesDropped", Message: "answers for the node but drops pod addresses"}}
	})
	member(t, 3, func(s *v1alpha1.NodeNetworkStatus) { s.Paths = &v1alpha1.PathCounts{Direct: 0, Encapsulated: 2} })
}

// squeeze makes the distance between columns the same everywhere.
func squeeze(s string) string { return regexp.MustCompile(" {2,}").ReplaceAllString(s, "  ") }

func TestStatus(t *testing.T) {
	empty(t)
	if _, errOut, code := runToEnd(t, "status"); code != cli.ExitError || !strings.Contains(errOut, `read networkconfig default: networkconfigs.net.hopsack.dev "default" not found`) {
		t.Errorf("status without a network: got %d %q", code, errOut)
	}
	network(t)
	threeNodes(t)
	report(t, func(c *v1alpha1.NetworkConfig) {
		stalled(c)
		c.Status.Effective = &v1alpha1.EffectiveSpec{Network: "10.244.0.0/16",
			Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN, VXLAN: &v1alpha1.VXLANBackend{VNI: new(int32(7)), Port: new(int32(4789)), DirectRouting: "Verified"}}}
		c.Status.Subnets = v1alpha1.SubnetCounts{Total: 255, Used: 3, Free: 252}
	})
	out, errOut, code := runToEnd(t, "status")
	want := `Network:        10.244.0.0/16, 252 of 255 subnets free
Backend:        vxlan vni 1 port 8472 directRouting Verified, being changed to vxlan vni 7 port 4789 directRouting Verified
MTU:            1450: the underlay's, less the backend's overhead
Ready:          False (VerificationFailed)
Stalled:        True (VerificationFailed): 1 pair of nodes cannot talk
Rollout:        stalled: revision bbbb2222: verifying: 3 prepared, 1 verified, 0 switched of 3 live nodes; waiting for n2
Failing: 1 pair
  n1 -> n2: no answer over UDP 4789 from 172.30.0.12

NODE   SUBNET          UNDERLAY      REVISION   BACKEND   DIRECT   ENCAPSULATED   VERIFIED   READY
n1     10.244.1.0/24   172.30.0.11   aaaa1111   vxlan     1        1              2/2        True
n2     10.244.2.0/24   172.30.0.12   aaaa1111   vxlan     0        2              2/2        True
n3     10.244.3.0/24   172.30.0.13   aaaa1111   vxlan     0        2              2/2        True
`
	if diff := cmp.Diff(want, out); code != 0 || diff != "" {
		t.Errorf("status: code %d %s (-want +got):\n%s", code, errOut, diff)
	}
	if out, _, _ := runToEnd(t, "status", "-o", "wide"); !strings.Contains(out, "INTERFACE") || !strings.Contains(out, "eth0") {
		t.Errorf("status -o wide:\n%s", out)
	}
	var fromJSON, fromYAML cli.Report
	out, _, _ = runToEnd(t, "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &fromJSON); err != nil || len(fromJSON.Nodes) != 3 || fromJSON.Nodes[1].Paths.Encapsulated != 2 {
		t.Errorf("status -o json: %v\n%s", err, out)
	}
	out, _, _ = runToEnd(t, "status", "-o", "yaml")
	if err := yaml.UnmarshalStrict([]byte(out), &fromYAML); err != nil {
		t.Errorf("status -o yaml: %v\n%s", err, out)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("JSON and YAML differ:\n%s", diff)
	}
	if _, errOut, code := runToEnd(t, "status", "-o", "xml"); code != cli.ExitError || errOut != "error: --output: \"xml\" is not one of wide, json, yaml\n" {
		t.Errorf("status -o xml: got %d %q", code, errOut)
	}
}

func TestTrace(t *testing.T) {
	empty(t)
	network(t)
	report(t, func(c *v1alpha1.NetworkConfig) {
		c.Status.Effective = &v1alpha1.EffectiveSpec{Network: "10.244.0.0/16"}
	})
	threeNodes(t)
	out, errOut, code := runToEnd(t, "trace", "10.244.1.17")
	want := `Target:   10.244.1.17
Lease:    10.244.1.0/24 (Bound)
Node:     n1
Underlay: 172.30.0.11

FROM   REVISION   PATH           DEVICE      NEXT HOP      WHY
n1     -          local          cni0        -             the target is on this node
n2     aaaa1111   encapsulated   hs1-8472    172.30.0.11   on the same segment, but the direct path is not proven to work: answers for the node but drops pod addresses; VNI 1, UDP port 8472
n3     aaaa1111   encapsulated   hs1-8472    172.30.0.11   the nodes share no segment; VNI 1, UDP port 8472
`
	if diff := cmp.Diff(squeeze(want), squeeze(out)); code != 0 || diff != "" {
		t.Errorf("trace: code %d %s (-want +got):\n%s", code, errOut, diff)
	}
	out, _, _ = runToEnd(t, "trace", "n2", "--from", "n1", "-o", "json")
	var r cli.TraceReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Paths) != 1 || r.Paths[0].Path != "direct" || r.Paths[0].Device != "eth0" || r.Paths[0].NextHop != "172.30.0.12" {
		t.Errorf("trace n2 --from n1: %v\n%s", err, out)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	create(t, pod)
	t.Cleanup(func() { _ = api.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	for target, want := range map[string]string{
		"10.244.77.1":  "no lease holds it",
		"192.0.2.9":    "outside of the pod network",
		"default/web":  "the pod has no address yet (phase Pending)",
		"default/gone": `pods "gone" not found`,
		"n9":           `target "n9" is neither an IP address, nor NAMESPACE/POD, nor a node in the pod network`,
	} {
		if out, errOut, _ := runToEnd(t, "trace", target); !strings.Contains(out+errOut, want) {
			t.Errorf("trace %s: got %q, want %q", target, out+errOut, want)
		}
	}
	pod.Status.PodIP, pod.Status.PodIPs, pod.Status.Phase = "10.244.3.9", []corev1.PodIP{{IP: "10.244.3.9"}}, corev1.PodRunning
	update(t, pod)
	for _, target := range []string{"default/web", "10.244.3.9"} {
		if out, _, _ := runToEnd(t, "trace", target); !strings.Contains(out, "Pod:      default/web") || !strings.Contains(out, "Node:     n3") {
			t.Errorf("trace %s:\n%s", target, out)
		}
	}
}

// answer plays the agents of some nodes: it copies the request of a check into their status.
func answer(t *testing.T, results map[string]v1alpha1.CheckResult) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w, err := api.Watch(ctx, &v1alpha1.NetworkConfigList{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range w.ResultChan() {
			cfg, ok := event.Object.(*v1alpha1.NetworkConfig)
			if !ok || event.Type == watch.Deleted || cfg.Annotations[v1alpha1.CheckAnnotation] == "" {
				continue
			}
			for node, result := range results {
				nn := &v1alpha1.NodeNetwork{}
				if err := api.Get(ctx, client.ObjectKey{Name: node}, nn); err != nil {
					t.Errorf("answer: %v", err)
				}
				result.Request = cfg.Annotations[v1alpha1.CheckAnnotation]
				result.FinishedAt = metav1.Now()
				nn.Status.Check = &result
				if err := api.Status().Update(ctx, nn); err != nil && ctx.Err() == nil {
					t.Errorf("answer: %v", err)
				}
			}
			return
		}
	}()
	t.Cleanup(func() { cancel(); w.Stop(); <-done })
}

func TestCheck(t *testing.T) {
	all := v1alpha1.CheckResult{Peers: 2, Reached: 2, MedianMicroseconds: 210, SlowestMicroseconds: 900}
	blocked := v1alpha1.CheckResult{Peers: 2, Reached: 1, MedianMicroseconds: 300, SlowestMicroseconds: 1500,
		Failing: []v1alpha1.FailingPeer{{Node: "n1", Reason: "NoAnswer", Message: "no answer over UDP 8472 from 172.30.0.11"}}}
	tests := map[string]struct {
		results map[string]v1alpha1.CheckResult
		args    []string
		code    int
		want    string
	}{
		"all paths work": {map[string]v1alpha1.CheckResult{"n1": all, "n2": all, "n3": all}, nil, cli.ExitOK, `FROM \ TO   n1   n2   n3
n1          -    ok   ok
n2          ok   -    ok
n3          ok   ok   -

NODE   REACHED   MEDIAN   SLOWEST
n1     2/2       210µs    900µs
n2     2/2       210µs    900µs
n3     2/2       210µs    900µs

6 of 6 paths work
`},
		"one is blocked": {map[string]v1alpha1.CheckResult{"n1": all, "n2": blocked, "n3": all}, nil, cli.ExitFailed, `FROM \ TO   n1         n2   n3
n1          -          ok   ok
n2          NoAnswer   -    ok
n3          ok         ok   -

n2 -> n1: no answer over UDP 8472 from 172.30.0.11

NODE   REACHED   MEDIAN   SLOWEST
n2     1/2       300µs    1.5ms
n1     2/2       210µs    900µs
n3     2/2       210µs    900µs

5 of 6 paths work
`},
		"one is silent": {map[string]v1alpha1.CheckResult{"n1": all, "n2": all}, []string{"--timeout", "2s"}, cli.ExitTimeout, `FROM \ TO   n1   n2   n3
n1          -    ok   ?
n2          ok   -    ?

NODE   REACHED   MEDIAN   SLOWEST
n1     2/2       210µs    900µs
n2     2/2       210µs    900µs

no answer from: n3
4 of 4 paths work
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			empty(t)
			network(t)
			threeNodes(t)
			answer(t, tt.results)
			out, errOut, code := runToEnd(t, append([]string{"check"}, tt.args...)...)
			if diff := cmp.Diff(squeeze(tt.want), squeeze(out)); code != tt.code || diff != "" {
				t.Errorf("check: got %d, want %d; %s (-want +got):\n%s", code, tt.code, errOut, diff)
			}
		})
	}
}

// TestConvertedIsAccepted has the API server judge every NetworkConfig that the golden tests of convert expect.
func TestConvertedIsAccepted(t *testing.T) {
	empty(t)
	files, err := filepath.Glob("../../cli/flannel/testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg := &v1alpha1.NetworkConfig{}
			if err := yaml.UnmarshalStrict(text, cfg); err != nil {
				t.Fatal(err)
			}
			if err := api.Create(t.Context(), cfg, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Errorf("create: %v\n%s", err, text)
			}
		})
	}
}

func TestConvertFromCluster(t *testing.T) {
	if _, errOut, code := runToEnd(t, "convert", "--from-cluster"); code != cli.ExitError || !strings.Contains(errOut, `configmaps "kube-flannel-cfg" not found`) {
		t.Errorf("convert without flannel: got %d %q", code, errOut)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-flannel-cfg"},
		Data: map[string]string{"net-conf.json": `{"Network": "10.9.0.0/16", "Backend": {"Type": "vxlan", "GBP": true}}`}}
	create(t, m)
	t.Cleanup(func() { _ = api.Delete(context.Background(), m) })
	out, errOut, code := runToEnd(t, "convert", "--from-cluster")
	if code != 0 || !strings.Contains(out, "network: 10.9.0.0/16") || !strings.Contains(errOut, "not carried over: Backend.GBP: true") {
		t.Errorf("convert --from-cluster: got %d\n%s%s", code, out, errOut)
	}
	if _, errOut, code := runToEnd(t, "convert", "--from-cluster", "-f", "x"); code != cli.ExitError || !strings.Contains(errOut, "filename") {
		t.Errorf("convert --from-cluster -f x: got %d %q", code, errOut)
	}
}

// TestCompletion: nodes, revisions and formats complete, also through the program that kubectl calls.
func TestCompletion(t *testing.T) {
	empty(t)
	network(t)
	threeNodes(t)
	report(t, func(c *v1alpha1.NetworkConfig) {
		c.Status.History = []v1alpha1.RevisionRecord{record("aaaa1111", v1alpha1.OutcomeCompleted, v1alpha1.Backend{Type: v1alpha1.BackendHostGW}, 0)}
	})
	for args, want := range map[string]string{
		"trace ":                       "n1\nn2\nn3\n",
		"rollout undo --to-revision ":  "aaaa1111\thost-gw, Completed\n",
		"status -o ":                   "wide\njson\nyaml\n",
		"rollout status --revision aa": "aaaa1111\thost-gw, Completed\n",
	} {
		t.Setenv("KUBECONFIG", kubeconfig)
		out, errOut, code := runToEnd(t, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		if code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("complete %q: got %d %q %q, want %q", args, code, out, errOut, want)
		}
	}
	if out, err := exec.Command("sh", "-n", "../../cmd/kubectl-hopsack/kubectl_complete-hopsack").CombinedOutput(); err != nil {
		t.Errorf("kubectl_complete-hopsack: %v %s", err, out)
	}
}

// TestNewIsInProgress: kstatus calls an object without any status Current; a new NetworkConfig must not pass for one that is in
// effect before the controller has seen it.
func TestNewIsInProgress(t *testing.T) {
	empty(t)
	cfg := &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName},
		Spec: v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}}}
	create(t, cfg)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("NetworkConfig"))
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(cfg), u); err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(u)
	if err != nil || result.Status != status.InProgressStatus {
		t.Errorf("kstatus of a new NetworkConfig: got %v %v, want InProgress; status %v", result, err, u.Object["status"])
	}
	out, _, code := runToEnd(t, "rollout", "status", "--watch=false")
	if want := "waiting for the controller to take up generation 1 (it has seen 0)\n"; code != cli.ExitTimeout || out != want {
		t.Errorf("rollout status of a new NetworkConfig: got %d %q, want %q", code, out, want)
	}
}
