package nodeagent

import (
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

// commit decides which revision the node sends with. A revision that the node is asked to send with is on trial until every
// peer that can be reached is reached with it; only then is it confirmed, which is what the controller hears of. Until then
// the node may go back by itself, also while the API server is gone; after that only the controller moves it.
type commit struct {
	// Confirmed is the revision that was proven, "" before the first.
	Confirmed string
	// Failed is the revision that the node was asked to send with and left again; it is not tried again until the node was
	// asked for something else in between.
	Failed *v1alpha1.FailedRevision
	// failedAt is the count of requests (snapshot.Moves) that the failure answers.
	failedAt uint64
}

// trial is what probes say of the revision To, which the node sends with since it left From. The zero value says nothing.
type trial struct {
	From, To string
	// Reached says that every peer that answers over either revision answers over the routes in force.
	Reached bool
	// Failing are peers that do not, although they answer over the paths of From.
	Failing []v1alpha1.FailingPeer
}

// sending is what a node sends with.
type sending struct {
	// Revision is the revision whose routes are in force.
	Revision string
	// Previous is the revision to go back to; "" when nothing is on trial.
	Previous string
	// Reverted says that the node goes back right now.
	Reverted bool
}

// next decides, from what probes said last, which revision to send with. node has a revision to send with; moves counts how
// often that changed.
func (c commit) next(node network.Node, moves uint64, t trial) (commit, sending) {
	wanted := node.Transmit.ID
	if c.Failed != nil && (c.Failed.Revision != wanted || c.failedAt != moves) {
		c.Failed, c.failedAt = nil, 0
	}
	switch {
	case c.Confirmed == wanted:
	case c.Confirmed == "" || !receives(node, c.Confirmed): // the first of all, or the way back is gone
		c = commit{Confirmed: wanted}
	case c.Failed != nil:
	case t.From != c.Confirmed || t.To != wanted:
		return c, sending{Revision: wanted, Previous: c.Confirmed}
	case len(t.Failing) > 0:
		c.Failed = &v1alpha1.FailedRevision{Revision: wanted, Failing: t.Failing[:min(len(t.Failing), maxListed)]}
		c.failedAt = moves
		return c, sending{Revision: c.Confirmed, Reverted: true}
	case t.Reached:
		c.Confirmed = wanted
	default:
		return c, sending{Revision: wanted, Previous: c.Confirmed}
	}
	return c, sending{Revision: c.Confirmed}
}

// receives says whether a revision is among those the node can receive.
func receives(node network.Node, id string) bool {
	return slices.ContainsFunc(node.Revisions, func(r network.Revision) bool { return r.ID == id })
}

// withTransmit is the node as if it had been asked to send with a revision that it receives.
func withTransmit(node network.Node, id string) network.Node {
	for i := range node.Revisions {
		if node.Revisions[i].ID == id {
			node.Transmit = &node.Revisions[i]
		}
	}
	return node
}

// maxListed is how many peers a report names; the API allows no more.
const maxListed = 16
