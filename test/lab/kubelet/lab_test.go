package kubelet

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/hack/image/oci"
	"github.com/hopsack-net/hopsack/test/lab"
)

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"

// TestLab takes one lab through its life: nodes without a pod network, with one, power failures, and its end.
func TestLab(t *testing.T) {
	before := takeSnapshot(t)
	c := newCluster(t)
	ctx := within(t, 2*time.Minute)
	options := lab.KubeletOptions{Images: []string{filepath.Join(binDir(c), "kubelet", "images", "agnhost.tar")}}
	if err := c.Up(ctx, lab.Options{Nodes: 3, Routed: 1, Kubelet: &options}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *lab.Cluster)
	}{
		{"nodes register and are not ready", stepNodes},
		{"pods wait for a network", stepWait},
		{"it cannot become another lab", stepRefusals},
		{"pods run once there is a network", stepNetwork},
		{"an image can be loaded", stepLoad},
		{"a node is powered off and on", stepPower},
		{"nodes join and go", stepJoin},
		{"components are killed and started", stepComponents},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c) }) {
			t.FailNow()
		}
	}
	for range 2 {
		if err := c.Down(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	nothingLeft(t, c, before)
}

func stepNodes(t *testing.T, c *lab.Cluster) {
	got := kubectl(t, c, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address} `+
		`{.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.kubeletVersion}{"\n"}{end}`)
	version := strings.Fields(got)[3]
	want := fmt.Sprintf("n1 172.30.0.11 False %[1]s\nn2 172.30.0.12 False %[1]s\nn3 172.30.3.13 False %[1]s\n", version)
	if got != want {
		t.Errorf("nodes: got\n%swant\n%s", got, want)
	}
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, comp := range st.Components {
		if comp.PID == 0 {
			t.Errorf("%s does not run", comp.Name)
		}
	}
	if got := len(st.Components); got != 4+3*3 {
		t.Errorf("%d components, want 13", got)
	}
	// What a node writes is its own, and so are its processes.
	onNode(t, c, "n1", "touch /opt/of-n1 /usr/of-n1")
	if out := onNode(t, c, "n2", "ls /opt /usr; cat /etc/hostname; cat /proc/1/cgroup"); strings.Contains(out, "of-n1") || !strings.Contains(out, "n2\n") {
		t.Errorf("on n2: got %s", out)
	}
}

const waitingPod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  hostNetwork: %[3]t
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: c
    image: %[4]s
    args: [netexec, --http-port=8080]
    securityContext: {seccompProfile: {type: RuntimeDefault}}
`

func stepWait(t *testing.T, c *lab.Cluster) {
	apply(t, c, fmt.Sprintf(waitingPod, "waiting", "n1", false, agnhost)+"---"+fmt.Sprintf(waitingPod, "host", "n1", true, agnhost))
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/host", "--timeout=60s")
	got := kubectl(t, c, "get", "pod", "waiting", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason} {.status.podIP}")
	if got != "Pending ContainerCreating " {
		t.Errorf("a pod without a network: got %q", got)
	}
	if got := kubectl(t, c, "get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[*].status.phase}"); got != "Pending" {
		t.Errorf("the name server without a network: got %q", got)
	}
	kubectl(t, c, "delete", "pod", "host")
}

func stepRefusals(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	if _, err := c.AddPod(ctx, lab.PodSpec{Name: "a", Node: "n1"}); err == nil || !strings.Contains(err.Error(), "lab kubectl") {
		t.Errorf("a pod of the light lab: got %v", err)
	}
	if err := c.SetNodeReady(ctx, "n1", true, time.Time{}); err == nil {
		t.Error("the condition of a kubelet's node was written")
	}
	if err := c.Delay(ctx, lab.Agent("n1"), "leases", time.Second); err == nil {
		t.Error("an agent that the lab does not run was delayed")
	}
	err := c.Up(ctx, lab.Options{Routed: -1, Kubelet: &lab.KubeletOptions{ProxyMode: lab.ProxyIPTables}})
	if err == nil || !strings.Contains(err.Error(), "mode nftables") {
		t.Errorf("another mode of kube-proxy: got %v", err)
	}
	err = c.Up(ctx, lab.Options{Routed: -1, Kubelet: &lab.KubeletOptions{ClusterCIDR: netip.MustParsePrefix("10.1.0.0/16")}})
	if err == nil || !strings.Contains(err.Error(), "pods in 10.244.0.0/16") {
		t.Errorf("another range: got %v", err)
	}
	err = c.Up(ctx, lab.Options{Routed: -1, Kubelet: &lab.KubeletOptions{AllocateNodeCIDRs: true}})
	if err == nil || !strings.Contains(err.Error(), "without podCIDRs") {
		t.Errorf("podCIDRs: got %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other, err := lab.OpenConfig(lab.Config{Dir: filepath.Join(t.TempDir(), "other"), BinDir: binDir(c), Helper: self, Out: writer{t}})
	if err != nil {
		t.Fatal(err)
	}
	err = other.Up(ctx, lab.Options{Routed: -1, Kubelet: &lab.KubeletOptions{}})
	if err == nil || !strings.Contains(err.Error(), "another lab is up") {
		t.Errorf("a second lab: got %v", err)
	}
	// Up without a word about kubelets repairs what there is.
	if err := c.Up(ctx, lab.Options{Routed: -1}); err != nil {
		t.Error(err)
	}
}

// installNetwork puts a bridge with a range of its own on every node, in place of a pod network.
func installNetwork(t *testing.T, c *lab.Cluster) {
	t.Helper()
	nodes, err := c.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		conf, err := json.Marshal(map[string]any{
			"cniVersion": "1.0.0", "name": "stand-in",
			"plugins": []any{map[string]any{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": "/run/ipam",
					"ranges": []any{[]any{map[string]string{"subnet": fmt.Sprintf("10.244.%d.0/24", n.Index)}}},
					"routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
				},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		onNode(t, c, n.Name, "mkdir -p /opt/cni/bin /etc/cni/net.d && cp -L "+filepath.Join(binDir(c), "cni")+"/* /opt/cni/bin/ && "+
			"echo '"+string(conf)+"' >/etc/cni/net.d/10-stand-in.conflist")
	}
}

func stepNetwork(t *testing.T, c *lab.Cluster) {
	installNetwork(t, c)
	kubectl(t, c, "wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/waiting", "--timeout=60s")
	kubectl(t, c, "rollout", "status", "-n", "kube-system", "deploy/coredns", "--timeout=60s")
	kubectl(t, c, "expose", "pod", "waiting", "--port=80", "--target-port=8080")
	// A Service on the pod's own node needs kube-proxy and nothing between nodes.
	err := c.Wait(within(t, 20*time.Second), "the Service to answer", func() (bool, error) {
		out, err := c.Exec(t.Context(), "n1", "sh", "-c", "curl -s -m 2 http://"+kubectl(t, c, "get", "svc", "waiting", "-o", "jsonpath={.spec.clusterIP}")+"/hostname")
		return out == "waiting", err
	})
	if err != nil {
		t.Error(err)
	}
	if got := kubectl(t, c, "exec", "waiting", "--", "sh", "-c", "ip -o -4 addr show eth0 | cut -d ' ' -f 7"); !strings.HasPrefix(got, "10.244.1.") {
		t.Errorf("exec: got %q", got)
	}
	// The kubelet says which boot it is, and whoever runs in a container must not find another one.
	boot := onNode(t, c, "n1", "cat /proc/sys/kernel/random/boot_id")
	if got := kubectl(t, c, "exec", "waiting", "--", "cat", "/proc/sys/kernel/random/boot_id"); got != boot {
		t.Errorf("boot ID in a container: got %q, want its node's, %q", got, boot)
	}
	if got := kubectl(t, c, "logs", "-n", "kube-system", "deploy/coredns"); !strings.Contains(got, "CoreDNS-") {
		t.Errorf("logs: got %q", got)
	}
	// The API server reaches pods, as one on a node would.
	if out, err := c.Exec(t.Context(), "cp", "curl", "-s", "-m", "3", "http://"+podIP(t, c, "waiting")+":8080/hostname"); err != nil || out != "waiting" {
		t.Errorf("from the control plane: got %q, %v", out, err)
	}
}

func podIP(t *testing.T, c *lab.Cluster, name string) string {
	t.Helper()
	return kubectl(t, c, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
}

func stepLoad(t *testing.T, c *lab.Cluster) {
	var tree oci.Tree
	if err := tree.File("pause", filepath.Join(binDir(c), "kubelet", "contents", "pause"), 0o755); err != nil {
		t.Fatal(err)
	}
	layer, err := tree.Layer(true)
	if err != nil {
		t.Fatal(err)
	}
	const name = "registry.example.org/nobody/has:v1"
	archive := filepath.Join(t.TempDir(), "image.tar")
	image := oci.Image{Platform: oci.Platform{OS: "linux", Architecture: "amd64"}, Config: oci.Config{Entrypoint: []string{"/pause"}}, Layers: []oci.Layer{layer}}
	other := image
	other.Platform.Architecture = "arm64"
	if _, err := (oci.Archive{Names: []string{name}, Images: []oci.Image{image, other}}).WriteFile(archive); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(within(t, time.Minute), archive); err != nil {
		t.Fatal(err)
	}
	apply(t, c, fmt.Sprintf(waitingPod, "loaded", "n3", false, name))
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/loaded", "--timeout=60s")
	kubectl(t, c, "delete", "pod", "loaded")
	if err := c.Load(t.Context(), filepath.Join(t.TempDir(), "none.tar")); err == nil {
		t.Error("an archive that does not exist was loaded")
	}
	if err := os.WriteFile(archive, []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(within(t, time.Minute), archive); err == nil {
		t.Error("a file that is no archive was loaded")
	}
}
