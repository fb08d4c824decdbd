package controllers

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/endpoints"
	"github.com/hopsack-net/hopsack/internal/plan/nodespec"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// settledSnapshot is a cluster of so many nodes in which nothing is left to do.
func settledSnapshot(tb testing.TB, count int) *snapshot {
	tb.Helper()
	config := &v1alpha1.NetworkConfig{}
	config.Name = v1alpha1.NetworkConfigName
	config.Spec = v1alpha1.NetworkConfigSpec{Network: "10.0.0.0/8", PodCIDRs: v1alpha1.PodCIDRsIgnore, Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}}
	parsed, err := network.FromAPI(config)
	if err != nil {
		tb.Fatal(err)
	}
	s := &snapshot{
		config: config, nodes: map[string]*corev1.Node{},
		nodeNetworks: map[string]*v1alpha1.NodeNetwork{}, leases: map[netip.Prefix]*v1alpha1.SubnetLease{},
	}
	target := rollout.Target(parsed)
	step := rollout.Next(rollout.Input{Target: target})
	for i := range count {
		name := fmt.Sprintf("node-%05d", i)
		ip := fmt.Sprintf("192.%d.%d.%d", 168+i/62500, i/250%250, i%250+1)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
		s.nodes[name] = node
		p := parsed.Ranges[0].At(uint64(i))
		mac := nodespec.DeriveMAC(name, 0)
		step.Transmit[name] = target.ID
		nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 2}}
		nn.Spec = nodespec.Render(nodespec.Input{
			Config: parsed, Step: step, Node: parseNode(node), VTEP: mac, Subnets: []plan.Subnet{{Prefix: p, State: v1alpha1.SubnetBound}},
		})
		nn.Status = v1alpha1.NodeNetworkStatus{
			ObservedGeneration: 2, NodeUID: name, PublicIPs: []string{ip}, PreparedRevisions: []string{target.ID}, TransmitRevision: target.ID,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady}},
		}
		s.nodeNetworks[name] = nn
		s.leases[p] = &v1alpha1.SubnetLease{
			ObjectMeta: metav1.ObjectMeta{Name: network.LeaseName(p), Finalizers: []string{v1alpha1.LeaseFinalizer}},
			Spec:       v1alpha1.SubnetLeaseSpec{Subnet: p.String(), NodeName: name},
			Status: v1alpha1.SubnetLeaseStatus{
				PublicIP: ip, BackendType: v1alpha1.BackendVXLAN, BackendData: v1alpha1.BackendData{VTEPMAC: mac.String()},
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonBound}},
			},
		}
	}
	return s
}

// BenchmarkPass is the work of a pass that finds nothing to write, reading the lists from the cache left out.
func BenchmarkPass(b *testing.B) {
	for _, count := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(count, " nodes"), func(b *testing.B) {
			s := settledSnapshot(b, count)
			r := &Reconciler{told: map[string]string{}}
			b.ReportAllocs()
			for b.Loop() {
				p := r.newPass(s, time.Unix(1e9, 0))
				p.decide()
				macs := p.vteps()
				for name, n := range p.cluster.Nodes {
					spec := nodespec.Render(nodespec.Input{
						Config: *p.effective, Step: p.step, Node: n, Subnets: p.leases.Subnets[name], VTEP: macs[name],
					})
					if !sameSpec(s.nodeNetworks[name].Spec, spec) {
						b.Fatalf("%s: rendered another spec", name)
					}
				}
				e := endpoints.Make(endpoints.Input{Cluster: s.cluster(), Backend: p.effective.Backend.Type, Settled: true})
				if len(e.Problems) > 0 || len(p.leases.Take) > 0 || p.refusal != nil {
					b.Fatalf("something is left to do: %v %v %v", e.Problems, p.leases.Take, p.refusal)
				}
			}
		})
	}
}
