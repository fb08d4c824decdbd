package kubeconf

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestFilesAreWhatTheirReadersExpect(t *testing.T) {
	kubelet, err := Kubelet("/pki/ca.crt", netip.MustParseAddr("10.96.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := Proxy("n1", "nftables", "/proxy.kubeconfig", netip.MustParsePrefix("10.244.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	for kind, raw := range map[string][]byte{"KubeletConfiguration": kubelet, "KubeProxyConfiguration": proxy} {
		var got struct {
			Kind                  string `json:"kind"`
			OOMScoreAdj           *int   `json:"oomScoreAdj"`
			ProtectKernelDefaults bool   `json:"protectKernelDefaults"`
			Conntrack             map[string]any
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if got.Kind != kind || got.OOMScoreAdj == nil || *got.OOMScoreAdj != 0 {
			t.Errorf("%s: got %+v", kind, got)
		}
		if kind == "KubeletConfiguration" && !got.ProtectKernelDefaults {
			t.Error("the kubelet may change the machine's settings")
		}
		if kind == "KubeProxyConfiguration" && (got.Conntrack["maxPerCore"] != 0.0 || got.Conntrack["min"] != 0.0) {
			t.Errorf("kube-proxy may change the machine's connection table: %v", got.Conntrack)
		}
	}
	if got := Containerd("/base.json"); !strings.Contains(got, `sandbox = "`+PauseImage+`"`) || !strings.Contains(got, "SystemdCgroup = false") {
		t.Errorf("containerd: got\n%s", got)
	}
}

func TestBaseSpecKeepsWhatContainerdSays(t *testing.T) {
	got, err := BaseSpec([]byte(`{"ociVersion":"1.3.0","mounts":[{"destination":"/proc"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ociVersion": "1.3.0"`, `"destination": "/proc"`, `"createContainer"`, `"proc/sys/kernel/random/boot_id"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if _, err := BaseSpec([]byte("no JSON")); err == nil {
		t.Error("what is no specification was taken for one")
	}
}

func TestControllerManagerHandsOutRangesOnlyWhenTold(t *testing.T) {
	c := ControlPlane{PKI: "/pki", ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: "10.96.0.0/16"}
	if got := strings.Join(ControllerManagerArgs(c), " "); strings.Contains(got, "10.244") || !strings.Contains(got, "--allocate-node-cidrs=false") {
		t.Errorf("without: got %s", got)
	}
	c.AllocateNodeCIDRs = true
	if got := strings.Join(ControllerManagerArgs(c), " "); !strings.Contains(got, "--cluster-cidr=10.244.0.0/16") {
		t.Errorf("with: got %s", got)
	}
}

func TestCoreDNSHasTheAddressThatPodsAreTold(t *testing.T) {
	if !strings.Contains(string(CoreDNS), "clusterIP: 10.96.0.10\n") {
		t.Error("the Service of the name server has another address")
	}
}
