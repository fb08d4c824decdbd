package rollout

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// rev is a revision that differs from others by its VNI.
func rev(id string) plan.Revision {
	return plan.Revision{ID: id, Backend: network.Backend{Type: v1alpha1.BackendVXLAN, VNI: uint32(id[0]), Port: 8472}}
}

// tn is a node under test: with a published subnet, Ready, and its agent reporting to be where its spec wants it and to have
// proven all it receives.
type tn struct {
	plan.NodeNetwork
	node      plan.Node
	published bool
}

type change func(*tn)

func nn(revisions, transmit string, changes ...change) tn {
	n := tn{published: true, node: plan.Node{Ready: true}}
	n.Transmit, n.Leader = transmit, "me"
	n.Subnets = []plan.Subnet{{State: v1alpha1.SubnetBound}}
	n.Report = plan.Report{Known: true, Current: true, Transmit: transmit, Word: "True", Ready: true}
	for _, id := range revisions {
		n.Revisions = append(n.Revisions, rev(string(id)))
		n.Report.Prepared = append(n.Report.Prepared, string(id))
	}
	for _, f := range changes {
		f(&n)
	}
	return n
}

func stale(n *tn)       { n.Report.Current = false }
func booted(n *tn)      { n.Report.Known = false }
func silent(n *tn)      { n.Report = plan.Report{} }
func unused(n *tn)      { n.Subnets = nil }
func unpublished(n *tn) { n.published = false }
func foreign(n *tn)     { n.Leader = "other" }
func joiner(n *tn)      { unpublished(n); silent(n) }
func canary(n *tn)      { n.node.Labels = map[string]string{"canary": "yes"} }
func sends(id string) change {
	return func(n *tn) { n.Report.Transmit = id }
}
func prepared(ids ...string) change {
	return func(n *tn) { n.Report.Prepared = ids }
}
func failed(id, back string) change {
	return func(n *tn) {
		n.Report.Failed, n.Report.Transmit = id, back
		n.Report.FailedPeers = []v1alpha1.FailingPeer{{Node: "n1", Reason: "NoAnswer", Message: "no answer over UDP 8472 from 192.0.2.2"}}
	}
}

// away makes the node not Ready since so long.
func away(d time.Duration) change {
	return func(n *tn) { n.node.Ready, n.node.ReadyChanged = false, noon.Add(-d) }
}

// unproven has the node fail towards peers with the target b.
func unproven(reason string, peers ...string) change {
	return func(n *tn) {
		v := v1alpha1.Verification{Revision: "b", Peers: -1, FailingCount: int32(len(peers))}
		for _, p := range peers {
			v.Failing = append(v.Failing, v1alpha1.FailingPeer{Node: p, Reason: reason, Message: reason + " of " + p})
		}
		n.Report.Verifications = map[string]v1alpha1.Verification{"b": v}
	}
}

// unprobed has the node know nothing of its peers yet.
func unprobed(n *tn) { n.Report.Verifications = map[string]v1alpha1.Verification{} }

// input makes n0, n1, ... of nodes, with b as the target.
func input(nodes []tn) Input {
	in := Input{
		Now: noon, Target: rev("b"), Generation: 7, Leader: "me",
		Policy: network.RolloutPolicy{MaxConcurrent: intstr.FromString("100%"), ProgressDeadline: 10 * time.Minute, OnFailure: v1alpha1.FailureRollback},
		Cluster: plan.Cluster{
			Nodes: map[string]plan.Node{}, NodeNetworks: map[string]plan.NodeNetwork{}, Leases: map[netip.Prefix]plan.Lease{},
		},
	}
	published := 0
	for _, n := range nodes {
		if n.published {
			published++
		}
	}
	for i, n := range nodes {
		name := fmt.Sprint("n", i)
		n.node.Name, n.Name = name, name
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		if len(n.Subnets) > 0 {
			n.Subnets[0].Prefix = prefix
			in.Cluster.Leases[prefix] = plan.Lease{Prefix: prefix, Node: name, Held: true, Published: n.published}
		}
		peers := int32(published)
		if n.published {
			peers--
		}
		all := map[string]v1alpha1.Verification{}
		for _, r := range n.Revisions {
			all[r.ID] = v1alpha1.Verification{Revision: r.ID, Peers: peers, Verified: peers}
		}
		if given := n.Report.Verifications; given != nil {
			all = given
		}
		for id, v := range all {
			if v.Peers < 0 {
				v.Peers, v.Verified = peers, peers-v.FailingCount
				all[id] = v
			}
		}
		n.Report.Verifications = all
		in.Cluster.Nodes[name], in.Cluster.NodeNetworks[name] = n.node, n.NodeNetwork
	}
	return in
}

// show prints a step's phase, what nodes receive and send, and whom it waits for: "Switching ab: b a | n1".
func show(step Step, nodes int) string {
	s := string(step.Status.Phase) + " "
	for _, r := range step.Revisions {
		s += r.ID
	}
	s += ":"
	for i := range nodes {
		s += " " + step.Transmit[fmt.Sprint("n", i)]
	}
	if len(step.Status.WaitingFor) > 0 {
		s += " |"
	}
	for _, name := range step.Status.WaitingFor {
		s += " " + name
	}
	if step.Fence {
		s += " FENCE"
	}
	if step.Stalled != nil {
		s += " " + step.Stalled.Reason
	}
	return s
}

func TestNext(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []tn
		want  string
	}{
		"no nodes":                            {nil, "Settled b:"},
		"only a node without a subnet":        {[]tn{nn("a", "a", unused, unpublished)}, "Settled b: b"},
		"settled":                             {[]tn{nn("b", "b"), nn("b", "b", silent)}, "Settled b: b b"},
		"asked to send what nobody knows":     {[]tn{nn("b", "b"), nn("b", "x", stale)}, "Settled b: b b"},
		"that, while a target is new":         {[]tn{nn("a", "a"), nn("a", "x", stale), nn("a", "x", stale)}, "Preparing ab: a a a | n0 n1 n2"},
		"a new target":                        {[]tn{nn("a", "a"), nn("a", "a")}, "Preparing ab: a a | n0 n1"},
		"one has prepared":                    {[]tn{nn("ab", "a"), nn("ab", "a", prepared("a"))}, "Preparing ab: a a | n1"},
		"asked, and reports for the old spec": {[]tn{nn("ab", "a"), nn("ab", "a", stale)}, "Preparing ab: a a | n1"},
		"never reported":                      {[]tn{nn("ab", "a"), nn("ab", "a", silent)}, "Preparing ab: a a | n1"},
		"booted since it reported":            {[]tn{nn("ab", "a"), nn("ab", "a", booted)}, "Preparing ab: a a | n1"},
		"prepared what it was not asked to":   {[]tn{nn("ab", "a"), nn("a", "a", prepared("a", "b"))}, "Preparing ab: a a | n1"},
		"all have prepared and proven":        {[]tn{nn("ab", "a"), nn("ab", "a")}, "Switching ab: b b | n0 n1"},
		"all have prepared, none has proven":  {[]tn{nn("ab", "a", unprobed), nn("ab", "a", unprobed)}, "Verifying ab: a a | n0 n1"},
		"one side has proven":                 {[]tn{nn("ab", "a", unprobed), nn("ab", "a")}, "Switching ab: b b | n0 n1"},
		"a node without a subnet has not":     {[]tn{nn("ab", "a"), nn("a", "a", unused, unpublished)}, "Switching ab: b a | n0"},
		"half asked to switch, then a crash":  {[]tn{nn("ab", "b", stale, sends("a")), nn("ab", "a")}, "Switching ab: b b | n0 n1"},
		"all asked":                           {[]tn{nn("ab", "b", stale, sends("a")), nn("ab", "b")}, "Switching ab: b b | n0"},
		"all send":                            {[]tn{nn("ab", "b"), nn("ab", "b")}, "Cleaning b: b b"},
		"half cleaned up, then a crash":       {[]tn{nn("b", "b", stale), nn("ab", "b")}, "Cleaning b: b b | n0"},
		"one has booted before the clean-up":  {[]tn{nn("ab", "b", booted), nn("ab", "b")}, "Switching ab: b b | n0"},
		"revert half-way":                     {[]tn{nn("ab", "a"), nn("ab", "b"), nn("ab", "a")}, "Switching ab: b b b | n0 n2"},
		"revert, others confirm an older ask": {[]tn{nn("ab", "a", stale), nn("ab", "b")}, "Switching ab: b b | n0"},
		"a node that cannot be asked":         {[]tn{nn("ab", "a", booted), nn("ab", "b")}, "Preparing ab: a b | n0"},
		"superseded before it was sent":       {[]tn{nn("ac", "a"), nn("ac", "a")}, "Preparing ab: a a | n0 n1"},
		"superseded, maybe sent":              {[]tn{nn("ac", "a"), nn("ac", "c", stale)}, "Preparing abc: a c | n0 n1"},
		"no room, wait for confirmation":      {[]tn{nn("acd", "a"), nn("acd", "c", stale)}, "Preparing acd: a c | n1"},
		"no room for a fourth":                {[]tn{nn("acd", "a"), nn("acd", "c"), nn("acd", "d"), nn("acd", "d")}, "Preparing acd: d d d d | n0 n1"},
		"room, but not before one has gone":   {[]tn{nn("acd", "a"), nn("acd", "a")}, "Preparing a: a a | n0 n1"},
		"a joining node not rendered yet":     {[]tn{nn("b", "b"), nn("", "", joiner)}, "Settled b: b b"},
		"a joining node lacks the target":     {[]tn{nn("ab", "a"), nn("a", "a", joiner)}, "Preparing ab: a a | n1"},
		"a joining node has the target":       {[]tn{nn("ab", "a"), nn("ab", "a", joiner)}, "Switching ab: b a | n0"},
		"joined, and not seen published":      {[]tn{nn("ab", "a"), nn("ab", "a", unpublished, prepared("a"))}, "Preparing ab: a a | n1"},
		"the last nodes have moved":           {[]tn{nn("ab", "b"), nn("ab", "a", joiner)}, "Cleaning b: b b"},
		"not live, and prepared":              {[]tn{nn("ab", "a"), nn("ab", "a", away(time.Hour))}, "Switching ab: b b | n0 n1"},
		"not live, and not prepared":          {[]tn{nn("ab", "a"), nn("a", "a", stale, away(time.Hour))}, "Preparing ab: a a | n1"},
		"not live, and not confirmed":         {[]tn{nn("ab", "b"), nn("ab", "b", stale, away(time.Hour))}, "Switching ab: b b | n1"},
		"foreign, nothing to do":              {[]tn{nn("b", "b", foreign), nn("b", "b")}, "Settled b: b b"},
		"foreign, target to add":              {[]tn{nn("a", "a", foreign), nn("a", "a")}, "Preparing a: a a | n0 n1 FENCE"},
		"foreign, to move":                    {[]tn{nn("ab", "a"), nn("ab", "a", foreign)}, "Switching ab: a a | n0 n1 FENCE"},
		"foreign, to clean":                   {[]tn{nn("ab", "b"), nn("ab", "b", foreign)}, "Cleaning ab: b b FENCE"},
		"foreign, one joins":                  {[]tn{nn("b", "b", foreign), nn("b", "b", joiner)}, "Settled b: b b FENCE"},
		"a pair fails in both directions":     {[]tn{nn("ab", "a", unproven("NoPath", "n1")), nn("ab", "a", unproven("NoPath", "n0"))}, "Verifying ab: a a | n0 n1 VerificationFailed"},
		"fails at first, for a moment":        {[]tn{nn("ab", "a", unproven("NoAnswer", "n1")), nn("ab", "a", unproven("NoAnswer", "n0"))}, "Verifying ab: a a | n0 n1"},
		"fails from one side":                 {[]tn{nn("ab", "a", unproven("NoAnswer", "n1")), nn("ab", "a")}, "Switching ab: b b | n0 n1"},
		"dead peer, node live":                {[]tn{nn("ab", "a", unproven("PeerDead", "n1")), nn("ab", "a", unprobed)}, "Verifying ab: a a | n0 n1"},
		"dead peer, node not live":            {[]tn{nn("ab", "a", unproven("PeerDead", "n1")), nn("ab", "a", unprobed, away(time.Hour))}, "Switching ab: b b | n0 n1"},
		"not live, but answers now":           {[]tn{nn("ab", "a", unproven("NoPath", "n1")), nn("ab", "a", unprobed, away(time.Hour))}, "Verifying ab: a a | n0 n1 VerificationFailed"},
		"failed after the switch":             {[]tn{nn("ab", "b", failed("b", "a")), nn("ab", "b"), nn("ab", "a")}, "RollingBack ab: b b a | n0 n2 RolledBack"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := show(Next(input(tc.nodes)), len(tc.nodes)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
