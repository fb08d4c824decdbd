package nodeagent

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/cniconf"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// outcome is what one pass found and did: all that the node's status is made of.
type outcome struct {
	view   snapshot
	bootID string
	facts  desired.Facts
	// factsErr says why no underlay was found.
	factsErr error
	// problems come from Compute and from the data path; each is a condition.
	problems []desired.Problem
	// applied says that the kernel was brought to the desired state; err why not, all of it.
	applied bool
	err     error
	// syncErr, tunnelErr and probeErr are the parts of err that are the kernel's, the tunnels' and the prober's.
	syncErr, tunnelErr, probeErr error
	// results is what probes found, sending which revision follows from it, and commit what that leaves behind.
	results results
	sending sending
	commit  commit
	// unproven says that not enough peers have answered yet for pods to start.
	unproven bool
	// unpublished says that the node is new, and that its peers cannot know it yet.
	unpublished bool
	// counts are the peers by path.
	counts v1alpha1.PathCounts
	// changes counts what was changed, by kind.
	changes dataplane.Changes
	// cni is what the directory of CNI configurations holds.
	cni cniconf.Found
	// cleanedUp says that a teardown was asked for and is done.
	cleanedUp bool
}

// conditionOrder is the order in which conditions speak for Ready.
var conditionOrder = []string{
	v1alpha1.ConditionInterfaceSelected, v1alpha1.ConditionProgrammed, v1alpha1.ConditionHostConfigured, v1alpha1.ConditionCNIConfigured,
}

// nodeStatus renders the agent's report. previous are the conditions last seen, for their transition times.
func nodeStatus(o outcome, previous []metav1.Condition) v1alpha1.NodeNetworkStatus {
	node := o.view.Parsed
	status := v1alpha1.NodeNetworkStatus{
		ObservedGeneration: node.Generation,
		NodeUID:            node.UID,
		BootID:             o.bootID,
		Interface:          o.facts.Underlay.Name,
	}
	for _, a := range publicIPs(node, o.facts.Underlay) {
		status.PublicIPs = append(status.PublicIPs, a.String())
	}
	if o.factsErr == nil {
		status.MTU = int32(desired.PodMTU(node, o.facts.Underlay))
	}
	status.PreparedRevisions = o.prepared()
	if o.applied && o.syncErr == nil && !o.cleanedUp {
		status.TransmitRevision = o.commit.Confirmed
		status.Paths = &o.counts
	}
	status.FailedRevision = o.commit.Failed
	status.Verifications, status.Check = o.results.Verifications, o.results.Check
	for _, c := range conditions(o) {
		c.ObservedGeneration = node.Generation
		if old := meta.FindStatusCondition(previous, c.Type); old != nil {
			status.Conditions = append(status.Conditions, *old)
		}
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

// publicIPs are the addresses peers shall send to: those the user set, else the underlay's.
func publicIPs(node network.Node, u desired.Underlay) []netip.Addr {
	var out []netip.Addr
	for _, own := range u.Addrs {
		chosen := own
		for _, a := range node.PublicIPs {
			if a.Is4() == own.Is4() {
				chosen = a
			}
		}
		out = append(out, chosen)
	}
	return out
}

// conditions are the agent's conditions, Ready last.
func conditions(o outcome) []metav1.Condition {
	out := []metav1.Condition{
		interfaceSelected(o), programmed(o), hostConfigured(o), cniConfigured(o), leasesDoubtful(o),
	}
	ready := condition(v1alpha1.ConditionReady, true, v1alpha1.ReasonReady, "the data path is in place")
	if o.cleanedUp {
		ready = condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonCleanedUp, "the teardown is done: nothing of hopsack is left on the node")
	} else {
		for _, t := range conditionOrder {
			if c := meta.FindStatusCondition(out, t); c.Status != metav1.ConditionTrue {
				ready = condition(v1alpha1.ConditionReady, false, c.Reason, c.Message)
				break
			}
		}
		switch {
		case ready.Status != metav1.ConditionTrue:
		case o.unproven:
			ready = condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonUnproven, unprovenMessage)
		case o.unpublished:
			ready = condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonUnproven, unpublishedMessage)
		}
	}
	return append(out, ready)
}

const unprovenMessage = "fewer than half of the peers answer over the pod network: no pod is started on a node whose packets may get lost"

const unpublishedMessage = "the node's lease is not published yet: no pod is started on a node that its peers do not know"

func interfaceSelected(o outcome) metav1.Condition {
	const t = v1alpha1.ConditionInterfaceSelected
	if o.factsErr != nil {
		return condition(t, false, v1alpha1.ReasonNoInterface, o.factsErr.Error())
	}
	return condition(t, true, v1alpha1.ReasonSelected, fmt.Sprintf("%s with %v", o.facts.Underlay.Name, o.facts.Underlay.Addrs))
}

func programmed(o outcome) metav1.Condition {
	const t = v1alpha1.ConditionProgrammed
	if o.view.NoSubnet {
		return condition(t, false, v1alpha1.ReasonWaitingForSubnet, "the node's lease is gone: pods that run keep their network, no pod can start")
	}
	if o.err != nil && o.tunnelErr != nil && o.syncErr == nil && o.probeErr == nil && o.view.Parsed.Transmit.Backend.Type != v1alpha1.BackendUDP {
		return condition(t, false, v1alpha1.ReasonRevisionUnusable, firstError(o.tunnelErr))
	}
	if o.err != nil {
		return condition(t, false, v1alpha1.ReasonProgrammingFailed, firstError(o.err))
	}
	for _, p := range o.problems {
		switch p.Reason {
		case v1alpha1.ReasonHostNotConfigured, v1alpha1.ReasonForeignCNI:
		default:
			return condition(t, false, p.Reason, p.Message)
		}
	}
	if o.factsErr != nil {
		return condition(t, false, v1alpha1.ReasonNoInterface, "nothing is programmed without an underlay interface")
	}
	return condition(t, true, v1alpha1.ReasonProgrammed, "the kernel is as desired")
}

func hostConfigured(o outcome) metav1.Condition {
	return fromProblems(o, v1alpha1.ConditionHostConfigured, v1alpha1.ReasonHostNotConfigured,
		"the host lets pod traffic pass")
}

// fromProblems is True unless a problem has the given reason.
func fromProblems(o outcome, conditionType, reason, well string) metav1.Condition {
	var messages []string
	for _, p := range o.problems {
		if p.Reason == reason {
			messages = append(messages, p.Message)
		}
	}
	if len(messages) > 0 {
		return condition(conditionType, false, reason, strings.Join(messages, "; "))
	}
	return condition(conditionType, true, v1alpha1.ReasonConfigured, well)
}

func cniConfigured(o outcome) metav1.Condition {
	const t = v1alpha1.ConditionCNIConfigured
	others := strings.Join(o.cni.Foreign, ", ")
	switch {
	case !o.view.Parsed.CNI.Conflist: // where the user writes the file, its name is the user's matter
		return condition(t, true, v1alpha1.ReasonUnmanaged, "spec.cni.conflist is Disabled: the user writes the CNI configuration")
	case o.cni.Shadowed:
		return condition(t, false, v1alpha1.ReasonForeignCNI, "the runtime uses another CNI configuration before hopsack's: "+others)
	case !o.cni.Ours:
		return condition(t, false, v1alpha1.ReasonNotWritten, "hopsack's CNI configuration is not written yet")
	case others != "":
		return condition(t, true, v1alpha1.ReasonConfigured, "hopsack's CNI configuration is used; left over from others: "+others)
	}
	return fromProblems(o, t, v1alpha1.ReasonForeignCNI, "hopsack's CNI configuration is used")
}

// leasesDoubtful is True when something is wrong, unlike the others.
func leasesDoubtful(o outcome) metav1.Condition {
	const t = v1alpha1.ConditionLeasesDoubtful
	var said []string
	if !o.view.NodeGone.IsZero() {
		said = append(said, "the node's own NodeNetwork is missing")
	}
	if n := len(o.view.Doubtful); n > 0 {
		said = append(said, fmt.Sprintf("%d leases are missing or without endpoint and kept for now, %s first", n, o.view.Doubtful[0]))
	}
	if n := len(o.view.Rejected); n > 0 {
		said = append(said, fmt.Sprintf("%d objects cannot be used, %s", n, o.view.Rejected[0]))
	}
	if len(said) > 0 {
		return condition(t, true, v1alpha1.ReasonDoubtful, strings.Join(said, "; "))
	}
	return condition(t, false, v1alpha1.ReasonComplete, "every known peer is in the list of leases")
}

// maxMessage keeps messages readable, and well below the API's limit of 32768 bytes.
const maxMessage = 1024

func condition(conditionType string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: truncate(message, maxMessage)}
}

// truncate cuts a text that is longer than limit bytes.
func truncate(text string, limit int) string {
	const more = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}

// firstError is the first of joined errors and a count of the rest.
func firstError(err error) string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err.Error()
	}
	all := joined.Unwrap()
	if len(all) == 1 {
		return firstError(all[0])
	}
	return fmt.Sprintf("%s (and %d more errors)", firstError(all[0]), len(all)-1)
}
