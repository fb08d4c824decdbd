package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestRefusedByController: what only the cluster can decide becomes a condition that names the field and the object, and changes
// nothing: leases and NodeNetworks stay byte for byte what they were. Putting the spec back clears it.
func TestRefusedByController(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	const good = "network: 10.244.0.0/16\nsubnetMin: 10.244.1.0\nsubnetMax: 10.244.9.0\npodCIDRs: Ignore\nbackend: {type: vxlan}"
	c.apply(good)
	c.nodes(3)
	c.reserve("10.244.64.0/26", "n4")
	c.node("n4", address(4))
	c.bound(4)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.settle()
	before := c.dump()
	effective := c.config().Status.Effective

	for name, tc := range map[string]struct {
		spec   string
		reason string
		parts  []string
	}{
		"min after max":        {"network: 10.244.0.0/16\nsubnetMin: 10.244.9.0\nsubnetMax: 10.244.1.0\nbackend: {type: vxlan}", "InvalidSpec", []string{"spec.subnetMin", "10.244.9.0", "10.244.1.0"}},
		"regex":                {good + "\ninterface: {regexes: ['eth[']}", "InvalidSpec", []string{"spec.interface.regexes[0]", "eth["}},
		"regex of an override": {good + "\ninterface: {overrides: [{nodeSelector: {matchLabels: {a: b}}, regexes: ['(']}]}", "InvalidSpec", []string{"spec.interface.overrides[0].regexes[0]"}},
		"selector":             {good + "\ninterface: {overrides: [{nodeSelector: {matchExpressions: [{key: a, operator: Sometimes}]}, names: [eth0]}]}", "InvalidSpec", []string{"spec.interface.overrides[0].nodeSelector", "Sometimes"}},
		"portmap twice":        {good + "\ncni: {plugins: [{type: portmap}]}", "InvalidSpec", []string{"spec.cni.plugins[0].type", "portmap"}},
		"plugin config type":   {good + "\ncni: {plugins: [{type: bandwidth, config: {type: tuning}}]}", "InvalidSpec", []string{"spec.cni.plugins[0].config", "type"}},
		"service range":        {"network: 10.96.0.0/12\npodCIDRs: Ignore\nbackend: {type: vxlan}", "InvalidSpec", []string{"spec.network", "10.96.0.0/12", "10.96.0.0/16", "kubernetes"}},
		"node address":         {"network: 172.16.0.0/12\npodCIDRs: Ignore\nbackend: {type: vxlan}", "InvalidSpec", []string{"spec.network", "172.16.0.0/12", address(1), "n1"}},
		"bridge":               {good + "\ncni: {bridge: br1}", "InvalidSpec", []string{"spec.cni.bridge", "cni0", "br1"}},
		"network":              {"network: 10.245.0.0/16\npodCIDRs: Ignore\nbackend: {type: vxlan}", "RangeInUse", []string{"spec.network", "10.244.0.0/16", "10.245.0.0/16", "4 leases", v1alpha1.TeardownAnnotation}},
		"wider network":        {"network: 10.244.0.0/15\npodCIDRs: Ignore\nbackend: {type: vxlan}", "RangeInUse", []string{"spec.network", "10.244.0.0/16", "10.244.0.0/15"}},
		"subnetLen":            {"network: 10.244.0.0/16\nsubnetLen: 26\npodCIDRs: Ignore\nbackend: {type: vxlan}", "RangeInUse", []string{"spec.subnetLen", "24 to 26"}},
		"min beyond a lease":   {"network: 10.244.0.0/16\nsubnetMin: 10.244.2.0\nsubnetMax: 10.244.9.0\npodCIDRs: Ignore\nbackend: {type: vxlan}", "RangeInUse", []string{"spec.subnetMin", "10.244.1.0-24", "n1"}},
		"max before a lease":   {"network: 10.244.0.0/16\nsubnetMin: 10.244.1.0\nsubnetMax: 10.244.2.0\npodCIDRs: Ignore\nbackend: {type: vxlan}", "RangeInUse", []string{"spec.subnetMax", "10.244.3.0-24", "n3"}},
		"interface":            {good + "\ninterface: {names: [eth1]}", "NeedsRollout", []string{"spec.interface", "from {}", "eth1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{Client: c.Client, t: t}
			c.apply(tc.spec)
			t.Log(c.condition(v1alpha1.ConditionStalled, "True", tc.reason, tc.parts...))
			c.condition(v1alpha1.ConditionReady, "False", tc.reason, tc.parts...)
			c.condition(v1alpha1.ConditionProgressing, "False", v1alpha1.ReasonRefused)
			c.touch()
			if diff := cmp.Diff(before, c.dump()); diff != "" {
				t.Errorf("objects changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(effective, c.config().Status.Effective); diff != "" {
				t.Errorf("effective changed (-before +after):\n%s", diff)
			}
		})
	}
	c.apply(good)
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	if diff := cmp.Diff(before, c.dump()); diff != "" {
		t.Errorf("objects changed (-before +after):\n%s", diff)
	}
	t.Run("bounds may move", func(t *testing.T) {
		c.apply(strings.Replace(good, "10.244.9.0", "10.244.3.0", 1))
		c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
		if got := c.config().Status.Subnets.Total; got != 3 {
			t.Errorf("%d subnets, want 3", got)
		}
	})
}

// TestRefusedByAPIServer: what the schema can decide, kubectl apply says.
func TestRefusedByAPIServer(t *testing.T) {
	c := newCluster(t)
	const vxlan = "\nbackend: {type: vxlan}"
	for name, tc := range map[string]struct{ spec, part string }{
		"no network":         {"backend: {type: vxlan}", "spec.network"},
		"bad CIDR":           {"network: 10.244.0.0" + vxlan, "network must be an IPv4 CIDR"},
		"host bits":          {"network: 10.244.0.1/16" + vxlan, "network must have zero host bits"},
		"IPv6":               {"network: fd00::/48" + vxlan, "network must be an IPv4 CIDR"},
		"too wide":           {"network: 10.0.0.0/7" + vxlan, "prefix length between 8 and 27"},
		"too narrow":         {"network: 10.244.0.0/28" + vxlan, "prefix length between 8 and 27"},
		"loopback":           {"network: 127.0.0.0/16" + vxlan, "unicast"},
		"subnetLen of net":   {"network: 10.244.0.0/16\nsubnetLen: 16" + vxlan, "subnetLen must be greater"},
		"subnetLen 29":       {"network: 10.244.0.0/16\nsubnetLen: 29" + vxlan, "subnetLen"},
		"min outside":        {"network: 10.244.0.0/16\nsubnetMin: 10.245.0.0" + vxlan, "subnetMin must lie inside network"},
		"max outside":        {"network: 10.244.0.0/16\nsubnetMax: 10.245.0.0" + vxlan, "subnetMax must lie inside network"},
		"min not aligned":    {"network: 10.244.0.0/16\nsubnetMin: 10.244.1.1" + vxlan, "subnetMin must be the first address"},
		"min no address":     {"network: 10.244.0.0/16\nsubnetMin: first" + vxlan, "subnetMin must be an IPv4 address"},
		"no backend":         {"network: 10.244.0.0/16", "spec.backend"},
		"unknown backend":    {"network: 10.244.0.0/16\nbackend: {type: ipip}", "spec.backend.type"},
		"two members":        {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {}, hostGW: {}}", "backend.hostGW is set"},
		"VNI 0":              {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 0}}", "spec.backend.vxlan.vni"},
		"VNI 2^24":           {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {vni: 16777216}}", "spec.backend.vxlan.vni"},
		"port 0":             {"network: 10.244.0.0/16\nbackend: {type: vxlan, vxlan: {port: 0}}", "spec.backend.vxlan.port"},
		"mtu 100":            {"network: 10.244.0.0/16\nmtu: 100" + vxlan, "mtu must be 0"},
		"negative retention": {"network: 10.244.0.0/16\nretentionSeconds: -1" + vxlan, "retentionSeconds"},
		"masquerade CIDR":    {"network: 10.244.0.0/16\nipMasq: {nonMasqueradeCIDRs: [10.0.0.1/8]}" + vxlan, "nonMasqueradeCIDRs"},
		"bridge":             {"network: 10.244.0.0/16\ncni: {bridge: this-name-is-too-long}" + vxlan, "bridge"},
		"canReach":           {"network: 10.244.0.0/16\ninterface: {canReach: gateway}" + vxlan, "canReach"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.tryApply(tc.spec)
			if err == nil || !strings.Contains(err.Error(), tc.part) {
				t.Errorf("got %v, want %q in it", err, tc.part)
			}
		})
	}
	for name, tc := range map[string]struct{ lease, subnet, part string }{
		"name is not the subnet": {"10.244.3.0-24", "10.244.4.0/24", "metadata.name must be spec.subnet"},
		"lease with host bits":   {"10.244.3.1-24", "10.244.3.1/24", "zero host bits"},
		"lease without length":   {"10.244.3.0", "10.244.3.0", "IPv4 CIDR"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &v1alpha1.SubnetLease{ObjectMeta: metav1.ObjectMeta{Name: tc.lease}, Spec: v1alpha1.SubnetLeaseSpec{Subnet: tc.subnet, NodeName: "n1"}}
			if err := c.Create(context.Background(), l); err == nil || !strings.Contains(err.Error(), tc.part) {
				t.Errorf("got %v, want %q in it", err, tc.part)
			}
		})
	}
}

// TestFirstSpecInvalid: a cluster whose first NetworkConfig makes no sense gets nothing.
func TestFirstSpecInvalid(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.nodes(1)
	c.apply("network: 172.30.0.0/16\npodCIDRs: Ignore\nbackend: {type: vxlan}")
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonInvalidSpec, "spec.network", "172.30.0.2", "n1")
	if n := len(c.dump()); n != 0 {
		t.Errorf("%d leases and nodenetworks, want none", n)
	}
	c.apply(plain)
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.bound(1)
}

// TestStatusLost: what was accepted is found again from the objects; a refused spec still changes nothing.
func TestStatusLost(t *testing.T) {
	c := newCluster(t)
	stop := c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(2)
	c.bound(2)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.settle()
	before := c.dump()
	stop()
	for _, spec := range []string{plain + "interface: {names: [eth1]}", "network: 10.0.0.0/16\nbackend: {type: vxlan}", plain + "subnetLen: 26"} {
		c.apply(spec)
		cfg := c.config()
		cfg.Status = v1alpha1.NetworkConfigStatus{}
		if err := c.Status().Update(context.Background(), cfg); err != nil {
			t.Fatal(err)
		}
		stop = c.startController()
		c.eventually("refusal", func() error {
			cfg := c.config()
			if !meta.IsStatusConditionTrue(cfg.Status.Conditions, v1alpha1.ConditionStalled) {
				return fmt.Errorf("conditions %v", cfg.Status.Conditions)
			}
			return nil
		})
		c.touch()
		if diff := cmp.Diff(before, c.dump()); diff != "" {
			t.Errorf("objects changed (-before +after):\n%s", diff)
		}
		stop()
	}
	c.apply(plain)
	c.startController()
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	if diff := cmp.Diff(before, c.dump()); diff != "" {
		t.Errorf("objects changed (-before +after):\n%s", diff)
	}
}

// TestServiceCIDRLater: a ServiceCIDR that comes to overlap a network in effect is told, and stops nothing.
func TestServiceCIDRLater(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(1)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	s := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.244.128.0/24"}}}
	if err := c.Create(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
		_ = c.Delete(context.Background(), s)
		_ = c.Patch(context.Background(), s, patch)
	})
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonInvalidSpec, "10.244.0.0/16", "10.244.128.0/24", "more")
	c.node("n2", address(2))
	c.bound(2)
}

// dump is every lease and NodeNetwork as JSON.
func (c *cluster) dump() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.NodeNetworkList{}, &v1alpha1.SubnetLeaseList{}} {
		if err := c.List(context.Background(), list); err != nil {
			c.t.Fatalf("dump: %v", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			b, err := json.Marshal(o)
			out[o.(client.Object).GetName()] = string(b)
			return err
		})
		if err != nil {
			c.t.Fatalf("dump: %v", err)
		}
	}
	return out
}

// settle waits until nothing has been written for a while.
func (c *cluster) settle() {
	c.t.Helper()
	last, since := c.dump(), time.Now()
	for time.Since(since) < 400*time.Millisecond {
		time.Sleep(50 * time.Millisecond)
		if now := c.dump(); !cmp.Equal(last, now) {
			last, since = now, time.Now()
		}
	}
}

// touch has the controller run some more passes.
func (c *cluster) touch() {
	c.t.Helper()
	for _, v := range []string{"a", "b"} {
		patch := []byte(`{"metadata":{"labels":{"touch":"` + v + `"}}}`)
		n := &metav1.PartialObjectMetadata{}
		n.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("Node"))
		n.APIVersion, n.Kind, n.Name = "v1", "Node", "n1"
		if err := c.Patch(context.Background(), n, client.RawPatch("application/merge-patch+json", patch)); err != nil {
			c.t.Fatalf("touch: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
