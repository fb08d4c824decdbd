package kubeconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// PauseImage is the image of every pod's sandbox. It has to be imported before the first pod.
const PauseImage = "registry.k8s.io/pause:3.10.2"

// The places on a node that its programs agree on.
const (
	// ContainerdSocket is where containerd listens.
	ContainerdSocket = "/run/containerd/containerd.sock"
	// ContainerdNamespace is where the kubelet's images and containers are.
	ContainerdNamespace = "k8s.io"
)

// The ports on which the programs answer to whether they are healthy, on 127.0.0.1 of where they run.
const (
	KubeletHealth           = "http://127.0.0.1:10248/healthz"
	ProxyHealth             = "http://127.0.0.1:10256/livez"
	ControllerManagerHealth = "https://127.0.0.1:10257/healthz"
	SchedulerHealth         = "https://127.0.0.1:10259/healthz"
)

// Sysctls are the values that a kubelet wants of the kernel, by path below /proc/sys. They are the whole machine's, so a node
// is shown these and the kubelet, told not to, changes none.
func Sysctls() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// Containerd is containerd's configuration file; baseSpec is the path of what every container begins with (see BaseSpec). It
// names neither the shim nor runc: whatever is configured, containerd looks for them in PATH when it finds containers that a
// former one has started, and forgets those that it cannot ask.
func Containerd(baseSpec string) string {
	return fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = %q

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = %q

[plugins."io.containerd.cri.v1.runtime"]
# Lowering the score of a sandbox takes CAP_SYS_RESOURCE, which not every machine gives its root.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = %q

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
# A node has no systemd that could be asked for control groups.
SystemdCgroup = false
`, ContainerdSocket, PauseImage, baseSpec)
}

// bootIDPath is where processes read which boot of their machine they run in.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BaseSpec adds to the specification that containerd would begin with what containers of a node need: they mount a /proc of
// their own, where the boot ID would be that of the machine and not the one that their node, and so its kubelet, has.
func BaseSpec(spec []byte) ([]byte, error) {
	var base map[string]any
	if err := json.Unmarshal(spec, &base); err != nil {
		return nil, fmt.Errorf("read containerd's base specification: %w", err)
	}
	// Such a hook runs in the container's root directory, before it becomes the root.
	base["hooks"] = map[string]any{"createContainer": []any{map[string]any{
		"path": "/bin/mount", "args": []string{"mount", "--bind", bootIDPath, strings.TrimPrefix(bootIDPath, "/")},
		"env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	}}}
	return encode(base)
}

// Kubelet is a kubelet's configuration file; clientCA is the path of the authority whose clients it believes.
func Kubelet(clientCA string, dns netip.Addr) ([]byte, error) {
	return encode(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": clientCA},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + ContainerdSocket,
		"cgroupDriver":             "cgroupfs",
		"failCgroupV1":             false,
		"failSwapOn":               false,
		// See Sysctls.
		"protectKernelDefaults": true,
		// A lower one takes CAP_SYS_RESOURCE.
		"oomScoreAdj":   0,
		"clusterDNS":    []string{dns.String()},
		"clusterDomain": "cluster.local",
		// The disk is the machine's: how full others made it is no reason to evict pods or images.
		"imageGCHighThresholdPercent": 100,
		"evictionHard":                map[string]string{"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
		// The default place is read-only in some distributions.
		"volumePluginDir":           "/var/lib/kubelet/volumeplugins",
		"nodeStatusUpdateFrequency": "5s",
		"syncFrequency":             "10s",
		"maxPods":                   110,
	})
}

// KubeletArgs are a kubelet's arguments.
func KubeletArgs(node string, addrs []netip.Addr, config, kubeconfig string) []string {
	return []string{
		"--config=" + config, "--kubeconfig=" + kubeconfig, "--hostname-override=" + node, "--node-ip=" + join(addrs), "--v=2",
	}
}

// Proxy is kube-proxy's configuration file; mode is nftables or iptables, clusterCIDR what it takes pods' addresses from.
func Proxy(node, mode, kubeconfig string, clusterCIDR netip.Prefix) ([]byte, error) {
	return encode(map[string]any{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             mode,
		"hostnameOverride": node,
		"clientConnection": map[string]any{"kubeconfig": kubeconfig},
		"clusterCIDR":      clusterCIDR.String(),
		"oomScoreAdj":      0,
		// The size of the connection table and its time-outs are the whole machine's: zero leaves them alone.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
}

func encode(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	return append(raw, '\n'), err
}

func join(addrs []netip.Addr) string {
	var parts []string
	for _, addr := range addrs {
		parts = append(parts, addr.String())
	}
	return strings.Join(parts, ",")
}
