package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/lab"
)

// The nodes' podCIDRs come from the start of the range, their subnets do not.
const outsidePodCIDRs = `
apiVersion: net.hopsack.dev/v1alpha1
kind: NetworkConfig
metadata: {name: default}
spec: {network: 10.244.0.0/16, subnetMin: 10.244.100.0, podCIDRs: Ignore, backend: {type: vxlan}}
`

// localService has its only pod on n2, and an external address.
const localService = `
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
`

const externalAddress = "192.0.2.7"

// TestDetectLocalMode tries what docs/install.md says about the ways in which kube-proxy tells pods apart: whether a pod's address
// arrives behind a ClusterIP, and whether a pod reaches an external address whose Service has no pod on its node.
func TestDetectLocalMode(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Nodes: 2, AllocateNodeCIDRs: true})
	ctx := t.Context()
	if err := c.Install(ctx, ""); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "networkconfig.yaml")
	if err := os.WriteFile(config, []byte(outsidePodCIDRs), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Network(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := c.Pods(ctx, "asker@n1", "server@n2"); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Apply(ctx, localService); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := c.Kubectl(ctx, "patch", "service", "server", "--subresource=status", "--type=merge",
		"-p", `{"status":{"loadBalancer":{"ingress":[{"ip":"`+externalAddress+`"}]}}}`); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, lab.KubeProxy("n1")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{lab.ProxyNFTables, lab.ProxyIPTables} {
		for name, test := range map[string]struct {
			config       map[string]any
			pod, reaches bool
		}{
			"ClusterCIDR":              {config: map[string]any{"detectLocalMode": "ClusterCIDR", "clusterCIDR": "10.244.0.0/16"}, pod: true, reaches: true},
			"ClusterCIDR without one":  {config: map[string]any{"detectLocalMode": "ClusterCIDR", "clusterCIDR": ""}, pod: true},
			"BridgeInterface":          {config: map[string]any{"detectLocalMode": "BridgeInterface", "detectLocal": map[string]any{"bridgeInterface": "cni0"}}, pod: true, reaches: true},
			"NodeCIDR of another node": {config: map[string]any{"detectLocalMode": "NodeCIDR"}},
			"InterfaceNamePrefix":      {config: map[string]any{"detectLocalMode": "InterfaceNamePrefix", "detectLocal": map[string]any{"interfaceNamePrefix": "veth"}}},
		} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				test.config["mode"] = mode
				runProxy(t, c, test.config)
				if err := seen(ctx, c, test.pod, test.reaches); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// seen waits until the asking pod's requests arrive as they should.
func seen(ctx context.Context, c *cluster.Cluster, pod, reaches bool) error {
	address, err := c.Kubectl(ctx, "get", "pod", "asker", "-o", "jsonpath={.status.podIP}")
	if err != nil {
		return err
	}
	service, err := c.Kubectl(ctx, "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	return c.Soon(ctx, "requests to arrive as the page says", func() (bool, error) {
		from, err := c.Get(ctx, "asker", "http://"+service+"/clientip")
		if err != nil {
			return false, err
		}
		_, err = c.Get(ctx, "asker", "http://"+externalAddress+"/clientip")
		if strings.HasPrefix(from, address+":") != pod || (err == nil) != reaches {
			return false, fmt.Errorf("from %s, the pod is %s; to the external address: %v", from, address, err)
		}
		return true, nil
	})
}

// runProxy runs a kube-proxy on n1 in place of the lab's, until the test ends.
func runProxy(t *testing.T, c *cluster.Cluster, settings map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.Dir(), "nodes", "n1", "conf", "kube-proxy.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, settings)
	if raw, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kube-proxy.json")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(c.Root, "bin", "kubelet", "kube-proxy")
	// What another mode has left would do its work.
	if _, err := c.Exec(t.Context(), "n1", program, "--cleanup", "--config="+path); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(program, "--config="+path)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.StartIn("n1", cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
		if t.Failed() {
			t.Log(out.String())
		}
	})
}
