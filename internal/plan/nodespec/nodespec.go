package nodespec

import (
	"net/netip"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// Input is what one node's spec is made of.
type Input struct {
	Config  network.Config
	Step    rollout.Step
	Node    plan.Node
	Subnets []plan.Subnet
	VTEP    network.MAC
	// Check is the request for a check that was made last.
	Check    string
	Teardown bool
}

// Render makes the spec.
func Render(in Input) v1alpha1.NodeNetworkSpec {
	spec := v1alpha1.NodeNetworkSpec{
		NodeUID:          in.Node.UID,
		InternalIPs:      addrs(in.Node.InternalIPs, 16),
		PublicIPs:        addrs(in.Node.PublicIPs, 2),
		VTEPMAC:          in.VTEP.String(),
		Transmit:         in.Step.Transmit[in.Node.Name],
		Check:            in.Check,
		RetentionSeconds: int32(in.Config.Retention / time.Second),
		IPMasq:           *in.Config.IPMasq.DeepCopy(),
		CNI:              *in.Config.CNI.DeepCopy(),
	}
	for _, s := range in.Subnets {
		spec.Subnets = append(spec.Subnets, v1alpha1.NodeSubnet{Subnet: s.Prefix.String(), State: s.State})
	}
	for _, p := range in.Config.Networks() {
		spec.PodNetworks = append(spec.PodNetworks, p.String())
	}
	rules := in.Config.Interface.For(in.Node.Labels)
	for _, r := range in.Step.Revisions {
		spec.Revisions = append(spec.Revisions, v1alpha1.Revision{
			ID: r.ID, Backend: r.Backend.API(), MTU: int32(r.MTU), Interface: *rules.DeepCopy(),
		})
	}
	if in.Teardown {
		spec.Teardown = v1alpha1.TeardownRequested
	}
	return spec
}

// addrs prints at most limit addresses: the field takes no more.
func addrs(in []netip.Addr, limit int) []string {
	var out []string
	for _, a := range in[:min(len(in), limit)] {
		out = append(out, a.String())
	}
	return out
}
