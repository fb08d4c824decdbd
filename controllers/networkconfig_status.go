package controllers

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// report brings the NetworkConfig's status up to date.
func (p *pass) report(ctx context.Context) {
	before := p.snap.config
	after := before.DeepCopy()
	p.fillStatus(&after.Status, after.Generation)
	if sameSpec(before.Status, after.Status) {
		return
	}
	err := p.r.Client.Status().Update(ctx, after)
	if client.IgnoreNotFound(err) != nil {
		p.fail(fmt.Errorf("update status of networkconfig %s: %w", after.Name, err))
		return
	}
	if err != nil {
		return // it was deleted, and this pass took its finalizer off
	}
	p.wrote(kindNetworkConfig, "status", after)
	p.announce(before, after)
	p.milestones(before, after)
	p.r.Metrics.transition(before.Status, after.Status)
	p.snap.config = after
}

func (p *pass) fillStatus(s *v1alpha1.NetworkConfigStatus, generation int64) {
	s.ObservedGeneration = generation
	s.Nodes = v1alpha1.NodeCounts{Total: int32(len(p.cluster.Nodes))}
	for name := range p.cluster.Nodes {
		if nodeReady(p.cluster.NodeNetworks[name]) {
			s.Nodes.Ready++
		}
	}
	s.Subnets = v1alpha1.SubnetCounts{
		Total: count(p.leases.Total), Used: count(p.leases.Used), Free: count(p.leases.Total - p.leases.Used),
	}
	if p.effective != nil {
		p.fillRollout(s)
	}
	for _, c := range p.verdict().conditions() {
		status := metav1.ConditionFalse
		if c.true {
			status = metav1.ConditionTrue
		}
		if c.unknown {
			status = metav1.ConditionUnknown
		}
		meta.SetStatusCondition(&s.Conditions, p.condition(c.kind, status, generation, c.why.Reason, c.why.Message))
	}
}

func count(n uint64) int32 { return int32(min(n, math.MaxInt32)) }

// nodeReady says that the node's agent reports a working data path for the spec it has now.
func nodeReady(n plan.NodeNetwork) bool { return n.Report.Known && n.Report.Current && n.Report.Ready }

// verdict is what the conditions are made of, each nil when there is nothing to say.
type verdict struct {
	teardown *plan.Problem // the deletion waits, for the user or for agents
	asked    bool          // the user has confirmed it
	refused  *plan.Problem
	stalled  *plan.Problem // a rollout does not go on
	blocked  *plan.Problem // a person must do something for some node
	rejected *plan.Problem // some node's report is not believed
	paused   *plan.Problem // the user holds a rollout
	moving   *plan.Problem
	notReady *plan.Problem
	verified *plan.Problem // a dry run has found nothing wrong
	nodes    int
	confined plan.Problem
}

// conditionFact is a condition before it gets its time and generation.
type conditionFact struct {
	kind          string
	true, unknown bool
	why           plan.Problem
}

// conditions fills in all four, so that nobody takes an absent one for a good one. Ready tells the first thing that is not
// well; Stalled is True when hopsack cannot go on without a person.
func (v verdict) conditions() []conditionFact {
	ready := conditionFact{kind: v1alpha1.ConditionReady}
	for _, why := range []*plan.Problem{v.teardown, v.refused, v.stalled, v.blocked, v.rejected, v.paused, v.moving, v.notReady} {
		if why != nil {
			ready.why = *why
			break
		}
	}
	if ready.why.Reason == "" {
		ready.true = true
		ready.why = plan.Problem{Reason: v1alpha1.ReasonReady, Message: fmt.Sprintf("the configuration is in effect on %d nodes", v.nodes)}
		switch {
		case v.verified != nil:
			ready.why = *v.verified
		case v.nodes == 0:
			ready.why = plan.Problem{Reason: v1alpha1.ReasonNoNodes, Message: "the configuration is in effect; there are no nodes yet"}
		}
	}
	return []conditionFact{ready, v.progressing(), v.stalledFact(), {
		kind: v1alpha1.ConditionAgentsConfined, true: v.confined.Reason == v1alpha1.ReasonConfined,
		unknown: v.confined.Reason == v1alpha1.ReasonAdmissionPolicyUnknown, why: v.confined,
	}}
}

// stalledFact is True when hopsack cannot go on without a person, or without a change of the network around it.
func (v verdict) stalledFact() conditionFact {
	stalled := conditionFact{kind: v1alpha1.ConditionStalled, why: plan.Problem{Reason: v1alpha1.ReasonNotStalled, Message: "nothing needs a person"}}
	for _, why := range []*plan.Problem{v.refused, v.stalled, v.blocked} {
		if why != nil && !stalled.true {
			stalled.true, stalled.why = true, *why
		}
	}
	if v.teardown != nil && !v.asked {
		stalled.true, stalled.why = true, *v.teardown
	}
	return stalled
}

// progressing is True while something moves by itself.
func (v verdict) progressing() conditionFact {
	progressing := conditionFact{kind: v1alpha1.ConditionProgressing, why: plan.Problem{Reason: v1alpha1.ReasonSettled, Message: "no change is under way"}}
	switch {
	case v.teardown != nil && v.asked:
		progressing.true, progressing.why = true, *v.teardown
	case v.moving != nil:
		progressing.true, progressing.why = true, *v.moving
	case v.refused != nil:
		progressing.why = plan.Problem{Reason: v1alpha1.ReasonRefused, Message: "the spec was refused; what was in effect stays"}
	case v.stalled != nil:
		progressing.why = *v.stalled
	case v.paused != nil:
		progressing.why = *v.paused
	case v.verified != nil:
		progressing.why = *v.verified
	}
	return progressing
}

// verdict looks at the pass.
func (p *pass) verdict() verdict {
	v := verdict{refused: p.refusal, nodes: len(p.cluster.Nodes), confined: p.confined}
	if !p.snap.config.DeletionTimestamp.IsZero() {
		v.asked = p.confirmed()
		v.teardown = p.teardownMessage()
	}
	v.blocked = p.nodeProblems([]string{
		v1alpha1.ReasonSubnetsExhausted, v1alpha1.ReasonNodeAddressOverlaps, v1alpha1.ReasonPodCIDROverlaps,
		v1alpha1.ReasonReservationOverlaps, v1alpha1.ReasonOutsideNetwork,
	}, p.leases.Problems)
	v.rejected = p.nodeProblems([]string{v1alpha1.ReasonDuplicatePublicIP, v1alpha1.ReasonPublicIPRejected}, p.endpoints.Problems)
	if p.effective != nil {
		v.stalled, v.paused, v.verified = p.step.Stalled, p.pausedMessage(), p.verifiedMessage()
		back := p.step.Status.Phase == v1alpha1.PhaseRollingBack
		if p.step.Status.Phase != v1alpha1.PhaseSettled && (back || v.stalled == nil && v.paused == nil) {
			v.moving = p.movingMessage()
		}
	}
	v.notReady = p.notReadyMessage()
	return v
}

func (p *pass) teardownMessage() *plan.Problem {
	switch {
	case v1alpha1.TeardownConfirmed != p.snap.config.Annotations[v1alpha1.TeardownAnnotation]:
		return &plan.Problem{Reason: v1alpha1.ReasonTeardownPending, Message: fmt.Sprintf(
			"%d nodes use the network and would be cut off, %s among them: to go on, set the annotation %s: %s on the NetworkConfig (this cannot be undone)",
			len(p.teardown.InUse), first(p.teardown.InUse), v1alpha1.TeardownAnnotation, v1alpha1.TeardownConfirmed)}
	case !p.teardown.Clean():
		return &plan.Problem{Reason: v1alpha1.ReasonTearingDown, Message: fmt.Sprintf(
			"waiting for the agents of %d nodes to clean up, %s among them", len(p.teardown.Blocking), first(p.teardown.Blocking))}
	}
	return &plan.Problem{Reason: v1alpha1.ReasonTearingDown, Message: "all agents have cleaned up; leases are going"}
}

func first(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return names[0]
}

// nodeProblems picks, of the problems of nodes, the one with the first of the reasons, and says how many nodes have it.
func (p *pass) nodeProblems(reasons []string, problems map[string]plan.Problem) *plan.Problem {
	for _, reason := range reasons {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(problems)) {
			if problems[name].Reason == reason {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			continue
		}
		if reason == v1alpha1.ReasonSubnetsExhausted {
			return &plan.Problem{Reason: reason, Message: fmt.Sprintf("%d nodes wait for a subnet, %s first: %s",
				len(names), first(p.leases.Exhausted), problems[names[0]].Message)}
		}
		return &plan.Problem{Reason: reason, Message: fmt.Sprintf("%d nodes affected, %s among them: %s", len(names), names[0], problems[names[0]].Message)}
	}
	return nil
}

func (p *pass) notReadyMessage() *plan.Problem {
	var names []string
	for name := range p.cluster.Nodes {
		if !nodeReady(p.cluster.NodeNetworks[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	name, why := names[0], ""
	for _, n := range names { // one that says what is wrong tells more than one that is about to report
		if why = p.complaint(n); why != "" {
			name = n
			break
		}
	}
	of := fmt.Sprintf("%d of %d nodes", len(names), len(p.cluster.Nodes))
	switch {
	case why != "":
		why = fmt.Sprintf("%s are not ready, %s among them (%s)", of, name, why)
	case p.cluster.NodeNetworks[name].Report.Known:
		why = fmt.Sprintf("%s have yet to confirm what they were told last, %s among them", of, name)
	default:
		why = fmt.Sprintf("%s are not ready, %s among them (its agent has not reported yet)", of, name)
	}
	return &plan.Problem{Reason: v1alpha1.ReasonNodesNotReady, Message: why}
}

// complaint is what is known to be wrong with a node that is not ready; "" when nobody has said.
func (p *pass) complaint(name string) string {
	if problem, ok := p.leases.Problems[name]; ok { // without a subnet the agent has nothing to say
		return problem.Reason + ": " + problem.Message
	}
	if r := p.cluster.NodeNetworks[name].Report; r.Known && r.Current && r.Word != "" {
		return r.Reason + ": " + r.Message
	}
	return ""
}

// announce records an event for every condition that has turned, and for a refusal that says something else than the last.
func (p *pass) announce(before, after *v1alpha1.NetworkConfig) {
	stalled := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionStalled)
	for _, c := range after.Status.Conditions {
		old := meta.FindStatusCondition(before.Status.Conditions, c.Type)
		same := old != nil && old.Status == c.Status && old.Reason == c.Reason
		if same && stallReason([]metav1.Condition{c}) != "" {
			continue // its message follows every report; status has it
		}
		refusal := c.Type == v1alpha1.ConditionStalled && c.Status == metav1.ConditionTrue
		eventType := corev1.EventTypeNormal
		if refusal || c.Reason == v1alpha1.ReasonAdmissionPolicyMissing {
			eventType = corev1.EventTypeWarning
		}
		switch {
		case same && !(refusal && old.Message != c.Message):
			continue
		case eventType == corev1.EventTypeNormal && c.Type != v1alpha1.ConditionReady:
			continue // Ready tells it
		case c.Type == v1alpha1.ConditionReady && slices.Contains(milestoneReasons, c.Reason):
			continue // the rollout's own events tell it
		case c.Type == v1alpha1.ConditionReady && stalled != nil && stalled.Status == metav1.ConditionTrue && stalled.Reason == c.Reason:
			continue // Stalled tells it
		}
		p.event(after, after.Name, c.Type, eventType, c.Reason, "Report", c.Message)
	}
}

// readyReason is the reason of the condition Ready, "Unknown" without one.
func readyReason(conditions []metav1.Condition) string {
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return "Unknown"
}
