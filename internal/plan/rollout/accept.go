package rollout

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// Recall finds the configuration that an earlier pass accepted. What status says counts only if leases and interfaces show it
// to be in effect; the backend and the MTU may be on their way.
func Recall(effective *v1alpha1.EffectiveSpec, cluster plan.Cluster) (network.Config, bool) {
	if effective == nil {
		return network.Config{}, false
	}
	c, err := network.FromEffective(effective)
	if err != nil || rangeInUse(c, nil, cluster) != nil || interfaceInUse(c, nil, cluster) != nil {
		return network.Config{}, false
	}
	return c, true
}

// Accept says why c may not be put into effect, or nil. before is the configuration accepted last, nil when that is not known.
func Accept(c network.Config, before *network.Config, cluster plan.Cluster) *plan.Problem {
	for _, check := range []func(network.Config, *network.Config, plan.Cluster) *plan.Problem{
		overlapsServices, overlapsNodes, rangeInUse, bridgeInUse, interfaceInUse, portInUse,
	} {
		if p := check(c, before, cluster); p != nil {
			return p
		}
	}
	return nil
}

func refuse(reason, format string, args ...any) *plan.Problem {
	return &plan.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func overlapsServices(c network.Config, _ *network.Config, cluster plan.Cluster) *plan.Problem {
	for _, r := range c.Ranges {
		for _, s := range cluster.ServiceCIDRs {
			for _, p := range s.Prefixes {
				if p.Overlaps(r.Network) {
					return refuse(v1alpha1.ReasonInvalidSpec, "spec.network: %s overlaps %s of ServiceCIDR %s", r.Network, p, s.Name)
				}
			}
		}
	}
	return nil
}

// overlapsNodes refuses a network that some node's own address lies in, as long as it is not in effect. Later such a node
// alone is refused: one machine must not stop a network.
func overlapsNodes(c network.Config, before *network.Config, cluster plan.Cluster) *plan.Problem {
	for _, r := range c.Ranges {
		if before != nil && slices.Contains(before.Networks(), r.Network) && len(inUse(cluster)) > 0 {
			continue
		}
		for _, n := range cluster.SortedNodes() {
			for _, a := range n.InternalIPs {
				if r.Network.Contains(a) {
					return refuse(v1alpha1.ReasonInvalidSpec, "spec.network: %s holds the address %s of node %s", r.Network, a, n.Name)
				}
			}
		}
	}
	return nil
}

// inUse lists the leases that existing nodes have, in the order of their addresses.
func inUse(cluster plan.Cluster) []plan.Lease {
	var out []plan.Lease
	for _, l := range cluster.SortedLeases() {
		if _, ok := cluster.Nodes[l.Node]; ok && l.Held && !l.Released() {
			out = append(out, l)
		}
	}
	return out
}

// wayOut tells what to do about a range that is in use.
const wayOut = "put it back, or delete the NetworkConfig with the annotation " + v1alpha1.TeardownAnnotation + ": " +
	v1alpha1.TeardownConfirmed + " and apply it anew"

func rangeInUse(c network.Config, before *network.Config, cluster plan.Cluster) *plan.Problem {
	leases := inUse(cluster)
	if len(leases) == 0 {
		return nil
	}
	if old := networksInUse(before, cluster); old != nil && !slices.Equal(old, c.Networks()) {
		return refuse(v1alpha1.ReasonRangeInUse, "spec.network: cannot change from %s to %s while %d leases are in use: %s",
			join(old), join(c.Networks()), len(leases), wayOut)
	}
	for _, l := range leases {
		r, ok := c.RangeOf(l.Prefix)
		switch {
		case !ok || !r.Inside(l.Prefix):
			return refuse(v1alpha1.ReasonRangeInUse, "spec.network: lease %s of node %s, which is in use, lies outside %s: %s",
				network.LeaseName(l.Prefix), l.Node, join(c.Networks()), wayOut)
		case l.Adopted || l.Reserved:
		case l.Prefix.Bits() != r.SubnetLen:
			return refuse(v1alpha1.ReasonRangeInUse, "spec.subnetLen: cannot change from %d to %d while %d leases are in use, %s of node %s among them: %s",
				l.Prefix.Bits(), r.SubnetLen, len(leases), network.LeaseName(l.Prefix), l.Node, wayOut)
		case !r.Holds(l.Prefix):
			return outsideBounds(r, l)
		}
	}
	return lengthInUse(c, before, len(leases))
}

// outsideBounds tells which bound a lease in use lies beyond.
func outsideBounds(r network.Range, l plan.Lease) *plan.Problem {
	field, bound, side := "subnetMin", r.First, "before"
	if r.Last.Less(l.Prefix.Addr()) {
		field, bound, side = "subnetMax", r.Last, "after"
	}
	return refuse(v1alpha1.ReasonRangeInUse, "spec.%s: lease %s of node %s, which is in use, lies %s %s: move the bound, or remove the node",
		field, network.LeaseName(l.Prefix), l.Node, side, bound)
}

// lengthInUse catches a changed length where every lease in use was adopted or reserved, so that none shows the old one.
func lengthInUse(c network.Config, before *network.Config, leases int) *plan.Problem {
	if before == nil {
		return nil
	}
	for i, r := range c.Ranges {
		if old := before.Ranges[min(i, len(before.Ranges)-1)]; old.Network == r.Network && old.SubnetLen != r.SubnetLen {
			return refuse(v1alpha1.ReasonRangeInUse, "spec.subnetLen: cannot change from %d to %d while %d leases are in use: %s",
				old.SubnetLen, r.SubnetLen, leases, wayOut)
		}
	}
	return nil
}

// networksInUse is what the nodes take for the pod networks, else what was accepted last; nil when nobody knows.
func networksInUse(before *network.Config, cluster plan.Cluster) []netip.Prefix {
	for _, name := range usedNodes(cluster) {
		if n := cluster.NodeNetworks[name]; len(n.Networks) > 0 {
			return n.Networks
		}
	}
	if before != nil {
		return before.Networks()
	}
	return nil
}

// usedNodes lists the existing nodes with a subnet in use, sorted.
func usedNodes(cluster plan.Cluster) []string {
	var out []string
	for name, n := range cluster.NodeNetworks {
		if _, ok := cluster.Nodes[name]; ok && n.InUse() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func bridgeInUse(c network.Config, _ *network.Config, cluster plan.Cluster) *plan.Problem {
	for _, name := range usedNodes(cluster) {
		if old := cluster.NodeNetworks[name].Bridge; old != "" && old != c.CNI.Bridge {
			return refuse(v1alpha1.ReasonInvalidSpec, "spec.cni.bridge: cannot change from %s to %s while pods are plugged into it: %s",
				old, c.CNI.Bridge, wayOut)
		}
	}
	return nil
}

// interfaceInUse refuses other interface rules on a running cluster: nodes would change the address that peers send to, which
// no rollout covers yet.
func interfaceInUse(c network.Config, before *network.Config, cluster plan.Cluster) *plan.Problem {
	old, ok := running(cluster)
	if !ok || ID(old.Backend, old.MTU, c.Interface.API()) == old.ID {
		return nil
	}
	from := "the rules in effect"
	if before != nil {
		from = printRules(before.Interface.API())
	}
	return refuse(v1alpha1.ReasonNeedsRollout, "spec.interface: cannot change from %s to %s on a running cluster in this version: put it back",
		from, printRules(c.Interface.API()))
}

// portInUse refuses a tunnel on a UDP port that a tunnel of another kind still receives on: a node must receive both while
// nodes change one after another.
func portInUse(c network.Config, _ *network.Config, cluster plan.Cluster) *plan.Problem {
	if !c.Backend.Encapsulates() {
		return nil
	}
	for _, name := range usedNodes(cluster) {
		for _, r := range cluster.NodeNetworks[name].Revisions {
			if b := r.Backend; b.Encapsulates() && b.Type != c.Backend.Type && b.Port == c.Backend.Port {
				return refuse(v1alpha1.ReasonInvalidSpec,
					"spec.backend.%s.port: UDP port %d belongs to %s (revision %s) until nodes have left it, and cannot carry both: choose another port, at least for one change",
					c.Backend.Type, c.Backend.Port, b.Type, r.ID)
			}
		}
	}
	return nil
}

func printRules(rules v1alpha1.InterfaceRules) string {
	b, err := json.Marshal(rules)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// running is the revision that most nodes in use were asked to send with.
func running(cluster plan.Cluster) (plan.Revision, bool) {
	senders := map[string]int{}
	content := map[string]plan.Revision{}
	for _, name := range usedNodes(cluster) {
		n := cluster.NodeNetworks[name]
		for _, r := range n.Revisions {
			if r.ID == n.Transmit {
				senders[r.ID]++
				content[r.ID] = r
			}
		}
	}
	id := most(senders)
	return content[id], id != ""
}

func join(prefixes []netip.Prefix) string {
	s := make([]string, len(prefixes))
	for i, p := range prefixes {
		s[i] = p.String()
	}
	return strings.Join(s, ",")
}
