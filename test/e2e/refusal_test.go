package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// refusal is an object that must change nothing, and what its author is told.
type refusal struct {
	name string
	// yaml is the object: for a NetworkConfig only its spec.
	yaml string
	// says is part of the message; it names the field and what is wrong.
	says string
}

const vxlanBackend = "\n  backend: {type: vxlan}"

// refusedByAPI is what `kubectl apply` refuses.
var refusedByAPI = []refusal{
	{"no network", vxlanBackend, "spec.network"},
	{"not a CIDR", "\n  network: 10.244.0.0" + vxlanBackend, "network must be an IPv4 CIDR"},
	{"octet too large", "\n  network: 10.300.0.0/16" + vxlanBackend, "network must be an IPv4 CIDR"},
	{"host bits set", "\n  network: 10.244.1.0/16" + vxlanBackend, "host bits"},
	{"IPv6 network", "\n  network: fd00::/48" + vxlanBackend, "network must be an IPv4 CIDR"},
	{"network too large", "\n  network: 0.0.0.0/0" + vxlanBackend, "network"},
	{"subnetLen not longer than network", "\n  network: 10.244.0.0/16\n  subnetLen: 16" + vxlanBackend, "subnetLen"},
	{"subnetLen 29", "\n  network: 10.244.0.0/16\n  subnetLen: 29" + vxlanBackend, "subnetLen"},
	{"subnetMin outside network", "\n  network: 10.244.0.0/16\n  subnetMin: 10.245.1.0" + vxlanBackend, "subnetMin"},
	{"subnetMin inside a subnet", "\n  network: 10.244.0.0/16\n  subnetMin: 10.244.1.7" + vxlanBackend, "subnetMin"},
	{"subnetMax outside network", "\n  network: 10.244.0.0/16\n  subnetMax: 10.250.1.0" + vxlanBackend, "subnetMax"},
	{"subnetMax no address", "\n  network: 10.244.0.0/16\n  subnetMax: ten" + vxlanBackend, "subnetMax"},
	{"no backend", "\n  network: 10.244.0.0/16", "spec.backend"},
	{"unknown backend", "\n  network: 10.244.0.0/16\n  backend: {type: geneve}", "geneve"},
	{"wireguard comes later", "\n  network: 10.244.0.0/16\n  backend: {type: wireguard}", "wireguard"},
	{"rollout.maxConcurrent 0", "\n  network: 10.244.0.0/16\n  rollout: {maxConcurrent: 0}" + vxlanBackend, "maxConcurrent"},
	{"rollout.maxConcurrent 101%", "\n  network: 10.244.0.0/16\n  rollout: {maxConcurrent: 101%}" + vxlanBackend, "maxConcurrent"},
	{"udp port 0", "\n  network: 10.244.0.0/16\n  backend: {type: udp, udp: {port: 0}}", "port"},
	{"two union members", "\n  network: 10.244.0.0/16\n  backend: {type: vxlan, vxlan: {vni: 1}, hostGW: {}}", "backend.hostGW"},
	{"wrong union member", "\n  network: 10.244.0.0/16\n  backend: {type: host-gw, vxlan: {vni: 1}}", "backend.vxlan"},
	{"VNI 0", "\n  network: 10.244.0.0/16\n  backend: {type: vxlan, vxlan: {vni: 0}}", "vni"},
	{"VNI 2^24", "\n  network: 10.244.0.0/16\n  backend: {type: vxlan, vxlan: {vni: 16777216}}", "vni"},
	{"port 0", "\n  network: 10.244.0.0/16\n  backend: {type: vxlan, vxlan: {port: 0}}", "port"},
	{"port 65536", "\n  network: 10.244.0.0/16\n  backend: {type: vxlan, vxlan: {port: 65536}}", "port"},
	{"MTU 100", "\n  network: 10.244.0.0/16\n  mtu: 100" + vxlanBackend, "mtu"},
	{"negative retention", "\n  network: 10.244.0.0/16\n  retentionSeconds: -1" + vxlanBackend, "retentionSeconds"},
	{"masquerade CIDR with host bits", "\n  network: 10.244.0.0/16\n  ipMasq: {nonMasqueradeCIDRs: [10.0.0.1/8]}" + vxlanBackend, "nonMasqueradeCIDRs"},
	{"masquerade bit 32", "\n  network: 10.244.0.0/16\n  ipMasq: {kubeProxyMasqueradeBit: 32}" + vxlanBackend, "kubeProxyMasqueradeBit"},
	{"canReach a name", "\n  network: 10.244.0.0/16\n  interface: {canReach: router.local}" + vxlanBackend, "canReach"},
	{"bridge name too long", "\n  network: 10.244.0.0/16\n  cni: {bridge: averylongbridgename}" + vxlanBackend, "bridge"},
}

// refusedByCondition is what only the cluster can tell.
var refusedByCondition = []refusal{
	{"subnetMin after subnetMax", "\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n  subnetMin: 10.244.100.0\n  subnetMax: 10.244.10.0" + vxlanBackend, "subnetMin"},
	{"network changed", "\n  network: 10.245.0.0/16\n  podCIDRs: Ignore" + vxlanBackend, "10.245.0.0/16"},
	{"subnetLen changed", "\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n  subnetLen: 25" + vxlanBackend, "subnetLen"},
	{"range leaves out a lease", "\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n  subnetMin: 10.244.200.0" + vxlanBackend, "subnetMin"},
	{"overlaps Services", "\n  network: 10.96.0.0/12\n  podCIDRs: Ignore" + vxlanBackend, "10.96.0.0"},
	{"overlaps nodes", "\n  network: 172.30.0.0/16\n  podCIDRs: Ignore" + vxlanBackend, "172.30.0.1"},
	{"another interface", "\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n  interface: {names: [eth1]}" + vxlanBackend, "interface"},
	{"regex that does not compile", "\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n  interface: {regexes: ['eth[']}" + vxlanBackend, "regexes"},
}

// refusedLeases are reservations that cannot be.
var refusedLeases = []refusal{
	{"name is not the subnet", leaseYAML("10.244.9.0-24", "10.244.8.0/24"), "metadata.name"},
	{"host bits set", leaseYAML("10.244.9.1-24", "10.244.9.1/24"), "host bits"},
	{"no CIDR", leaseYAML("10.244.9.0-24", "10.244.9.0"), "subnet must be an IPv4 CIDR"},
	{"node name with capitals", strings.Replace(leaseYAML("10.244.9.0-24", "10.244.9.0/24"), "n9", "N9", 1), "nodeName"},
}

func leaseYAML(name, subnet string) string {
	return fmt.Sprintf("apiVersion: net.hopsack.dev/v1alpha1\nkind: SubnetLease\nmetadata: {name: %s}\nspec: {subnet: %s, nodeName: n9}\n", name, subnet)
}

func configYAML(spec string) string {
	return "apiVersion: net.hopsack.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {name: default}\nspec:" + spec + "\n"
}

// What cannot work is refused before anything moves, with a sentence for its author.
func TestRefusalsMoveNothing(t *testing.T) {
	waitReady(t)
	before := everything(t)
	for _, r := range refusedByAPI {
		t.Run(r.name, func(t *testing.T) { refusedAtOnce(t, configYAML(r.yaml), r.says) })
	}
	for _, r := range refusedLeases {
		t.Run("lease: "+r.name, func(t *testing.T) { refusedAtOnce(t, r.yaml, r.says) })
	}
	for _, r := range refusedByCondition {
		t.Run(r.name, func(t *testing.T) {
			if _, err := cluster.Apply(t.Context(), configYAML(r.yaml)); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s", stalled(t, r.says))
			if diff := cmp.Diff(before, everything(t)); diff != "" {
				t.Errorf("a refused spec moved something:\n%s", diff)
			}
		})
	}
	apply(t, sample("networkconfig.yaml"))
	if diff := cmp.Diff(before, everything(t)); diff != "" {
		t.Errorf("after all refusals something is different:\n%s", diff)
	}
}

func refusedAtOnce(t *testing.T, yaml, says string) {
	t.Helper()
	_, err := cluster.Apply(t.Context(), yaml)
	if err == nil {
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("message lacks %q: %v", says, err)
	}
	t.Logf("%v", err)
}

// stalled waits until the current generation is refused, and returns what its author is told.
func stalled(t *testing.T, says string) string {
	t.Helper()
	var message string
	wait(t, "condition Stalled", func() (bool, error) {
		cfg := config(t)
		c := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionStalled)
		if c == nil || c.ObservedGeneration != cfg.Generation || c.Status != "True" {
			return false, nil
		}
		message = c.Reason + ": " + c.Message
		return true, nil
	})
	if !strings.Contains(message, says) {
		t.Errorf("message lacks %q: %s", says, message)
	}
	return message
}

// everything is the kernel state of the nodes, their files and all leases: what a refusal must not touch.
func everything(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, n := range nodes {
		out.WriteString(sh(t, n, `ip -o link show type vxlan | cut -d' ' -f2-; ip -4 -o addr show | cut -d' ' -f2-
			ip -4 route show table all; bridge fdb show dev hs1-8472; ip neigh show nud permanent
			nft list table inet hopsack | sed 's/counter packets.*bytes [0-9]*/counter/'; iptables-nft -S
			cat /run/flannel/subnet.env /etc/cni/net.d/05-hopsack.conflist /run/hopsack/cni.json`))
	}
	out.WriteString(kubectl(t, "get", "subnetleases", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`))
	out.WriteString(kubectl(t, "get", "nodenetworks", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec}{"\n"}{end}`))
	return out.String()
}
