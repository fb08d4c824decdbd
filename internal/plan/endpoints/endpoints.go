package endpoints

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// State is what a lease's status must say.
type State struct {
	// Published is the status of the condition Ready; Reason and Message are its own.
	Published       bool
	Reason, Message string
	Endpoint        plan.Endpoint
}

// Input is what the endpoints depend on.
type Input struct {
	Cluster plan.Cluster
	// Interface has the CIDRs that addresses may come from although no Node lists them.
	Interface network.InterfaceRules
	// Backend is what nodes send with. While a change is under way (Settled is false) leases keep the type they name: that a
	// change is done is written once, not twice.
	Backend v1alpha1.BackendType
	Settled bool
	// Admit has the nodes that may be published for the first time; nil does not ask.
	Admit map[string]bool
}

// Result is what leases publish, and what is wrong with what nodes report.
type Result struct {
	Leases   map[netip.Prefix]State
	Problems map[string]plan.Problem
}

// Make decides for every lease that is a node's bound subnet, and for those of nodes whose NodeNetwork is missing.
func Make(in Input) Result {
	out := Result{Leases: map[netip.Prefix]State{}, Problems: map[string]plan.Problem{}}
	holder := holders(in.Cluster)
	for _, n := range in.Cluster.SortedNodes() {
		nn, ok := in.Cluster.NodeNetworks[n.Name]
		if !ok {
			continue
		}
		problem := check(n, nn.Report, in.Interface, holder)
		if problem != nil {
			out.Problems[n.Name] = *problem
		} else if nn.Report.Known {
			for _, a := range nn.Report.PublicIPs {
				holder[a] = n.Name
			}
		}
		for _, s := range nn.Subnets {
			l, ok := in.Cluster.Leases[s.Prefix]
			if s.InUse() && ok && l.Node == n.Name {
				out.Leases[s.Prefix] = state(in, nn, s, l, problem)
			}
		}
	}
	for _, l := range in.Cluster.SortedLeases() {
		_, exists := in.Cluster.Nodes[l.Node]
		if _, known := in.Cluster.NodeNetworks[l.Node]; exists && !known && l.Published && !l.Released() {
			out.Leases[l.Prefix] = explain(State{Published: true, Endpoint: l.Endpoint}, l, plan.Subnet{State: v1alpha1.SubnetBound}, nil)
		}
	}
	return out
}

// holders says which node publishes which address. Of two that do, the one with the lower subnet keeps it.
func holders(cluster plan.Cluster) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, l := range cluster.SortedLeases() {
		if _, exists := cluster.Nodes[l.Node]; !exists || !l.Published {
			continue
		}
		for _, a := range l.Endpoint.PublicIPs {
			if out[a] == "" {
				out[a] = l.Node
			}
		}
	}
	return out
}

// check says what is wrong with the addresses a node reports.
func check(n plan.Node, r plan.Report, rules network.InterfaceRules, holder map[netip.Addr]string) *plan.Problem {
	if !r.Known {
		return nil
	}
	for _, a := range r.PublicIPs {
		if !slices.Contains(n.InternalIPs, a) && !slices.Contains(n.ExternalIPs, a) && !slices.Contains(n.PublicIPs, a) && !rules.Allows(a) {
			return &plan.Problem{Reason: v1alpha1.ReasonPublicIPRejected, Message: fmt.Sprintf(
				"the agent reports the address %s, which is none of the Node's addresses, not its annotation %s and not inside spec.interface.cidrs",
				a, v1alpha1.PublicIPAnnotation)}
		}
		if other := holder[a]; other != "" && other != n.Name {
			return &plan.Problem{Reason: v1alpha1.ReasonDuplicatePublicIP, Message: fmt.Sprintf(
				"the agent reports the address %s, which node %s publishes already", a, other)}
		}
	}
	return nil
}

func state(in Input, nn plan.NodeNetwork, s plan.Subnet, l plan.Lease, problem *plan.Problem) State {
	out := State{Published: l.Published, Endpoint: l.Endpoint}
	if good := problem == nil && nn.Report.Known && len(nn.Report.PublicIPs) > 0; good && (l.Published || ready(nn) && (in.Admit == nil || in.Admit[nn.Name])) {
		out.Published = true
		out.Endpoint.PublicIPs = nn.Report.PublicIPs
	}
	if out.Published {
		out.Endpoint.VTEP = nn.VTEP
		if in.Settled || out.Endpoint.Backend == "" {
			out.Endpoint.Backend = in.Backend
		}
	}
	return explain(out, l, s, problem)
}

// explain adds the reason and the message.
func explain(out State, l plan.Lease, s plan.Subnet, problem *plan.Problem) State {
	out.Reason = v1alpha1.ReasonBound
	switch {
	case l.Deleting:
		out.Reason = v1alpha1.ReasonInUse
		out.Message = fmt.Sprintf("deleted, but held while node %s uses the subnet: moving a node to another subnet is not possible yet", l.Node)
	case !out.Published && problem != nil:
		out.Reason, out.Message = problem.Reason, problem.Message
	case !out.Published:
		// One wording for every stage of a start: each change of a lease reaches every node. NodeNetwork tells the details.
		out.Reason = v1alpha1.ReasonPending
		out.Message = fmt.Sprintf("the agent of node %s has not reported an address and to be ready to receive", l.Node)
	case s.State == v1alpha1.SubnetDraining:
		out.Reason, out.Message = v1alpha1.ReasonDraining, "used by pods that run; new pods get addresses elsewhere"
	default:
		out.Message = "peers send to the address published"
	}
	return out
}

// ready says that the node can receive whatever peers may send it.
func ready(nn plan.NodeNetwork) bool {
	if !nn.Report.Current {
		return false
	}
	for _, r := range nn.Revisions {
		if !slices.Contains(nn.Report.Prepared, r.ID) {
			return false
		}
	}
	return true
}
