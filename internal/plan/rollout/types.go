package rollout

import (
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// Input is all that a step depends on.
type Input struct {
	Now time.Time
	// Target is what the accepted spec asks for.
	Target plan.Revision
	Policy network.RolloutPolicy
	// Generation is that of the NetworkConfig; Paused and Retry come from its annotations.
	Generation int64
	Paused     bool
	Retry      string
	// Leader is the identity of this controller; "" means that no other one can exist, and that there is no fence.
	Leader  string
	Cluster plan.Cluster
	// Past is what status remembers. It can be lost: then times start anew and a generation that failed is tried again.
	Past v1alpha1.RolloutStatus
}

// Step is what every NodeNetwork must say now.
type Step struct {
	// Status is what to show and to remember.
	Status v1alpha1.RolloutStatus
	// Revisions are what every node must be able to receive, in the order of their names.
	Revisions []plan.Revision
	// Transmit is what each node of the cluster must send with.
	Transmit map[string]string
	// Fence says that a path is to be removed or a node to be moved, and that some NodeNetwork does not carry Leader: it must be
	// put on every one first. Revisions and Transmit do neither until then.
	Fence bool
	// Fenced says that every NodeNetwork carries Leader, or that there is no fence: only then is what the step was made from
	// known to be up to date, and may a node be published for the first time.
	Fenced bool
	// Admit has the nodes that may be published: they receive every live revision, and every other node receives what they send.
	Admit map[string]bool
	// Active is the revision that every node sends with, or sent with before the change under way.
	Active string
	// Live counts the nodes a rollout waits for; Prepared, Verified and Switched those of them that receive, have proven and
	// send with the target.
	Live, Prepared, Verified, Switched int
	// Stalled is why it does not go on by itself, or nil.
	Stalled *plan.Problem
	// FailingPairs and EncapsulatedPairs are at most 16 each; the counts say how many there are.
	FailingPairs, EncapsulatedPairs         []v1alpha1.NodePair
	FailingPairCount, EncapsulatedPairCount int
	// Wake is when the step may change although nothing happens; zero for never.
	Wake time.Time
}
