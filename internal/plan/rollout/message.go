package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// maxSaid is how many nodes or pairs a sentence names.
const maxSaid = 3

func (v *view) called(id string) string {
	if r, ok := v.carried[id]; ok {
		return r.String()
	}
	if id == v.Target.ID {
		return v.Target.String()
	}
	return "revision " + id
}

// clip shortens what a field has no room for.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-3], "") + "..."
}

// failureMessage says whom a node could not reach after it was switched.
func failureMessage(peers []v1alpha1.FailingPeer) string {
	if len(peers) == 0 {
		return "peers did not answer after it was switched"
	}
	var said []string
	for _, f := range peers[:min(len(peers), maxSaid)] {
		said = append(said, f.Node+": "+why(f.Reason, f.Message))
	}
	return enumerate(said, len(peers))
}

// why is the sentence, or for want of one the word.
func why(reason, message string) string {
	if message != "" {
		return message
	}
	return reason
}

// enumerate joins what is said and tells how many more there are.
func enumerate(said []string, count int) string {
	s := strings.Join(said, "; ")
	if more := count - len(said); more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// failedMessage tells what a failure after the switch led to, and the way on.
func (v *view) failedMessage(g goal) string {
	f := g.failure
	after := "the others stay where they are"
	if f.Policy != v1alpha1.FailurePause {
		after = "all nodes go back to " + v.called(g.source)
		if g.phase == v1alpha1.PhaseSettled {
			after = "all nodes are back on " + v.called(g.dest)
		}
	}
	return fmt.Sprintf("node %s went back from %s by itself (%s); %s; change the spec, or set the annotation %s to a new value to try again",
		f.Node, v.called(f.Revision), f.Message, after, v1alpha1.RetryAnnotation)
}

// nodes names those that a proof waits for.
func (p proof) nodes() []string {
	out := slices.Clone(p.pending)
	for _, f := range p.failing {
		out = append(out, f.From, f.To)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unprovenMessage tells which pairs a revision was not proven between. A node that fails against most peers is named alone.
func (v *view) unprovenMessage(g goal) string {
	p := g.proof
	name := v.called(v.Target.ID)
	const rest = "; no node was moved; it goes on by itself when they answer"
	if len(p.worst) > 0 && len(p.worst) <= maxSaid {
		var said []string
		for _, node := range p.worst {
			said = append(said, p.blamed(node))
		}
		others := slices.DeleteFunc(slices.Clone(p.failing), func(f v1alpha1.NodePair) bool {
			return slices.Contains(p.worst, f.From) || slices.Contains(p.worst, f.To)
		})
		s := fmt.Sprintf("%s does not work for most peers of %s", name, strings.Join(said, " and of "))
		if len(others) > 0 {
			s += ", nor between " + sayPairs(others, len(others))
		}
		return s + rest
	}
	return fmt.Sprintf("%s does not work between %s%s", name, sayPairs(p.failing, p.count), rest)
}

// blamed names a node with the first of its failures, told by its peer if possible: that is about the node.
func (p proof) blamed(node string) string {
	var found *v1alpha1.NodePair
	for i, f := range p.failing {
		if f.To == node || f.From == node && found == nil {
			found = &p.failing[i]
			if f.To == node {
				break
			}
		}
	}
	if found == nil {
		return node
	}
	return fmt.Sprintf("%s (%s to %s: %s)", node, found.From, found.To, why(found.Reason, found.Message))
}

func sayPairs(pairs []v1alpha1.NodePair, count int) string {
	var said []string
	for _, f := range firstPairs(slices.Clone(pairs))[:min(len(pairs), maxSaid)] {
		said = append(said, fmt.Sprintf("%s and %s (%s)", f.From, f.To, why(f.Reason, f.Message)))
	}
	return enumerate(said, count)
}

// lateMessage names the nodes that are waited for, each with what would help.
func (v *view) lateMessage(g goal) string {
	doing := map[v1alpha1.RolloutPhase]string{
		v1alpha1.PhasePreparing: "to receive", v1alpha1.PhaseVerifying: "to prove", v1alpha1.PhaseSwitching: "to send with",
		v1alpha1.PhaseRollingBack: "to go back from", v1alpha1.PhaseCleaning: "to leave all but",
	}[g.phase]
	names := limit(g.waiting)
	var said []string
	for _, m := range v.members {
		if slices.Contains(names, m.name) && len(said) < maxListed {
			said = append(said, m.name+" ("+v.trouble(m)+")")
		}
	}
	return fmt.Sprintf("no progress for %v, waiting for %d nodes %s %s: %s",
		v.Policy.ProgressDeadline, len(g.waiting), doing, v.called(v.Target.ID), enumerate(said, len(g.waiting)))
}

// trouble says why a node is waited for.
func (v *view) trouble(m *member) string {
	switch {
	case !m.live:
		return fmt.Sprintf("not Ready since %s: bring it back, delete its Node, or set rollout.abandonAfterSeconds",
			m.node.ReadyChanged.UTC().Format(time.RFC3339))
	case !m.Report.Known:
		return "its agent has not reported since the node was made or booted: look at the agent's pod"
	case !m.Report.Current:
		return "its agent has not reported for the present NodeNetwork: look at the agent's pod"
	case m.failed(m.Transmit):
		return fmt.Sprintf("went back from %s by itself: %s; ask for another backend to move it on", v.called(m.Transmit), failureMessage(m.Report.FailedPeers))
	case m.Report.Word != "True" && m.Report.Reason != "":
		return m.Report.Reason + ": " + m.Report.Message
	case m.Report.Transmit != m.Transmit:
		return "has not proven what it was asked to send with"
	}
	return "has not reported what is asked of it"
}
