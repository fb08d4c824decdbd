package rollout

import (
	"maps"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// maxRevisions is how many revisions a node receives at once: what it has, what it gets, and one that it was getting when
// somebody changed his mind.
const maxRevisions = 3

// goal is where a step leads.
type goal struct {
	// dest is what nodes are to send with in the end, source what they are moved away from ("" for nothing).
	dest, source string
	phase        v1alpha1.RolloutPhase
	// extra is a revision that shall be received although nobody sends with it, "" for none.
	extra string
	// move allows nodes to be moved to dest; at once means all together.
	move, atOnce bool
	// keep has no revision taken away.
	keep bool
	// waiting names the nodes that the next step waits for.
	waiting []string
	// proof is of the target, where it was looked for.
	proof    proof
	verified bool // the dry run succeeded
	failure  *v1alpha1.RolloutFailure
}

// Next finds the step from what the NodeNetworks say and what their agents report. Nodes without a subnet in use neither send
// nor receive, so nobody waits for them.
func Next(in Input) Step {
	v := look(in)
	g := v.goal()
	step := Step{Transmit: map[string]string{}, Fenced: v.fenced, Active: v.active(g)}
	v.revise(g, &step)
	v.move(g, &step)
	v.fence(&step)
	v.admit(&step)
	v.tally(g, &step)
	v.remember(g, &step)
	v.stall(g, &step)
	v.wake(g, &step)
	return step
}

// goal decides where nodes go now.
func (v *view) goal() goal {
	g := goal{dest: v.Target.ID, source: v.source()}
	if v.Policy.VerifyOnly && g.source != "" {
		v.dryRun(&g)
		return g
	}
	g.failure = v.failure()
	known := v.remembered()
	switch {
	case g.failure != nil && !known:
		v.noteFailure(&g)
	case known && g.failure.Policy == v1alpha1.FailureRollback && g.source != "":
		g.dest = g.source
		v.rollBack(&g)
	case known && g.failure.Policy == v1alpha1.FailurePause && !v.all(func(m *member) bool { return m.at(g.dest) }):
		g.phase, g.keep = v1alpha1.PhaseSwitching, true
		g.waiting = v.lacking(func(m *member) bool { return m.at(g.dest) })
	default:
		g.failure = nil
		v.forward(&g)
	}
	return g
}

// remembered says that status holds the failure of what the spec asks for.
func (v *view) remembered() bool {
	f := v.Past.Failure
	return f != nil && f.Generation == v.Generation && f.Retry == v.Retry
}

// failure is why the generation is given up, or nil: what status remembers, else what a node reports.
func (v *view) failure() *v1alpha1.RolloutFailure {
	if v.remembered() {
		return v.Past.Failure.DeepCopy()
	}
	for _, m := range v.waited {
		if m.failed(v.Target.ID) {
			return &v1alpha1.RolloutFailure{
				Generation: v.Generation, Revision: m.Transmit, Node: m.name, Retry: v.Retry, Policy: v.Policy.OnFailure,
				Message: clip(failureMessage(m.Report.FailedPeers), 1024),
			}
		}
	}
	return nil
}

// noteFailure holds everything until status remembers the failure: moving the node back makes it forget, and the generation
// would be tried again.
func (v *view) noteFailure(g *goal) {
	g.keep = true
	g.phase = v1alpha1.PhaseRollingBack
	if g.failure.Policy == v1alpha1.FailurePause {
		g.phase = v1alpha1.PhaseSwitching
	}
	g.waiting = v.lacking(func(m *member) bool { return m.at(g.dest) })
}

// rollBack takes all nodes back to where they came from. Nothing needs to be proven: nodes send with it and receive it.
func (v *view) rollBack(g *goal) {
	g.move, g.atOnce, g.phase = true, true, v1alpha1.PhaseRollingBack
	g.waiting = v.lacking(func(m *member) bool { return m.at(g.dest) })
	if v.only(g.dest) {
		g.phase, g.waiting = v1alpha1.PhaseSettled, nil
	}
}

// only says that nothing but this revision is received or sent.
func (v *view) only(id string) bool {
	for carried := range v.carried {
		if carried != id {
			return false
		}
	}
	return v.all(func(m *member) bool { return m.Transmit == id || !m.Has(m.Transmit) })
}

// dryRun prepares and verifies the target and takes it away again. Nodes that send with it, because it was being rolled out
// before, go back.
func (v *view) dryRun(g *goal) {
	target := v.Target.ID
	g.dest, g.move = g.source, true
	tried := v.Past.Verified && v.Past.Target == target && v.Past.Generation == v.Generation
	switch {
	case tried && v.only(g.dest):
		g.phase, g.verified = v1alpha1.PhaseSettled, true
	case tried:
		g.phase, g.verified = v1alpha1.PhaseCleaning, true
		g.waiting = v.lacking(func(m *member) bool { return m.at(g.dest) })
	case v.inUse(target):
		g.phase = v1alpha1.PhaseRollingBack
		g.waiting = v.lacking(func(m *member) bool { return m.at(g.dest) })
	default:
		g.extra = target
		v.prepare(g, target)
		// That it was proven must be remembered before the target goes, else it would be tried again.
		g.verified = g.phase == v1alpha1.PhaseSwitching
		if g.verified {
			g.phase = v1alpha1.PhaseVerifying
		}
	}
}

// forward brings nodes to the target.
func (v *view) forward(g *goal) {
	target := g.dest
	g.extra = target
	if _, ok := v.carried[target]; !ok && len(v.needed()) >= maxRevisions {
		// No room for one more. If nodes send with three, everybody first goes to what most send with and all receive; else it is
		// enough that nodes confirm what they send with.
		g.dest, g.move = v.mostAsked(""), len(v.asked()) >= maxRevisions
		g.phase, g.waiting = v1alpha1.PhasePreparing, v.lacking(func(m *member) bool { return m.at(g.dest) })
		return
	}
	unconfirmed := v.lacking(func(m *member) bool { return m.at(target) })
	switch {
	case v.only(target):
		g.phase = v1alpha1.PhaseSettled
	case len(unconfirmed) == 0 || v.onlyNeeds(target):
		g.phase, g.waiting = v1alpha1.PhaseCleaning, unconfirmed
	case v.all(func(m *member) bool { return m.Transmit == target }):
		g.phase, g.waiting = v1alpha1.PhaseSwitching, unconfirmed
	default:
		v.prepare(g, target)
		if g.phase == v1alpha1.PhaseSwitching {
			g.move, g.waiting = true, unconfirmed
		}
	}
}

// onlyNeeds says that nobody may send with anything else.
func (v *view) onlyNeeds(id string) bool {
	needed := v.needed()
	return len(needed) == 1 && needed[id]
}

// prepare finds how far nodes are before any of them may send with the revision: Preparing, Verifying, or Switching when all
// is proven. What some node sends with already was proven, and is received by all that have been there since.
func (v *view) prepare(g *goal, id string) {
	g.phase = v1alpha1.PhasePreparing
	if v.inUse(id) {
		g.waiting = v.lacking(func(m *member) bool { return m.Has(id) && m.Report.Known })
	} else {
		g.waiting = v.lacking(func(m *member) bool { return m.received(id) })
	}
	for _, m := range v.members { // nobody waits for the others to act, but what they will be published with must be written
		if !m.Has(id) && !m.abandoned && !slices.Contains(g.waiting, m.name) {
			g.waiting = append(g.waiting, m.name)
		}
	}
	if len(g.waiting) > 0 {
		return
	}
	g.phase = v1alpha1.PhaseSwitching
	if v.inUse(id) {
		return
	}
	if g.proof = v.prove(id); !g.proof.good() {
		g.phase, g.waiting = v1alpha1.PhaseVerifying, g.proof.nodes()
	}
}

// active is the revision that every node sends with, or sent with before the change under way.
func (v *view) active(g goal) string {
	if len(v.waited) == 0 {
		return v.Target.ID
	}
	if v.all(func(m *member) bool { return m.Transmit == g.dest }) || g.source == "" {
		return g.dest
	}
	return g.source
}

// revise finds what nodes must receive: what somebody may send, where they go, and what is being tried.
func (v *view) revise(g goal, step *Step) {
	out := map[string]plan.Revision{}
	if g.keep || v.Paused && !g.atOnce {
		maps.Copy(out, v.carried)
	}
	for id := range v.needed() {
		if r, ok := v.carried[id]; ok {
			out[id] = r
		}
	}
	for _, id := range []string{g.dest, step.Active} {
		if r, ok := v.carried[id]; ok {
			out[id] = r
		}
	}
	// Counted together with what is about to go: a write that fails must not leave nodes with four between them.
	all := maps.Clone(v.carried)
	maps.Copy(all, out)
	all[g.extra] = v.Target
	if g.extra != "" && len(all) <= maxRevisions || len(out) == 0 {
		out[v.Target.ID] = v.Target
	}
	v.squeeze(out)
	step.Revisions = sorted(out)
	step.Active = step.firstOf(step.Active, g.dest)
}

// squeeze leaves out what fewest nodes send with until the rest has room. There are too many only when a node comes back that
// the rollout went on without, or somebody edited NodeNetworks.
func (v *view) squeeze(revisions map[string]plan.Revision) {
	for len(revisions) > maxRevisions {
		rarest, fewest := "", 0
		for _, r := range sorted(revisions) {
			if n := v.count(func(m *member) bool { return m.sends(r.ID) }); rarest == "" || n < fewest {
				rarest, fewest = r.ID, n
			}
		}
		delete(revisions, rarest)
	}
}

// firstOf is the first of the revisions that nodes receive; any, when they receive none of these.
func (s *Step) firstOf(ids ...string) string {
	for _, id := range ids {
		if slices.ContainsFunc(s.Revisions, func(r plan.Revision) bool { return r.ID == id }) {
			return id
		}
	}
	return s.Revisions[0].ID
}

// fence holds back every change until all NodeNetworks are this controller's: what it has seen is up to date only then.
func (v *view) fence(step *Step) {
	if v.fenced {
		return
	}
	for _, m := range v.members {
		same := slices.Equal(step.Revisions, m.Revisions) && (m.Transmit == step.Transmit[m.name] || !m.waited)
		step.Fence = step.Fence || !same || !m.published
	}
	if !step.Fence || len(v.carried) == 0 {
		return
	}
	step.Revisions = sorted(v.carried)
	for name := range step.Transmit {
		step.Transmit[name] = step.firstOf(v.Cluster.NodeNetworks[name].Transmit, v.mostAsked(""))
	}
}
