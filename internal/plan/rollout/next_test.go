package rollout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

func rev(id string) plan.Revision {
	return plan.Revision{ID: id, Backend: network.Backend{Type: v1alpha1.BackendVXLAN, VNI: 1, Port: 8472}}
}

// nn is a node with a subnet in use that reports to be where its spec wants it; change says otherwise.
func nn(revisions []string, transmit string, change ...func(*plan.NodeNetwork)) plan.NodeNetwork {
	n := plan.NodeNetwork{
		Subnets: []plan.Subnet{{State: v1alpha1.SubnetBound}}, Transmit: transmit,
		Report: plan.Report{Known: true, Current: true, Prepared: revisions, Transmit: transmit},
	}
	for _, id := range revisions {
		n.Revisions = append(n.Revisions, rev(id))
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

func stale(n *plan.NodeNetwork)  { n.Report.Current = false }
func silent(n *plan.NodeNetwork) { n.Report = plan.Report{} }
func unused(n *plan.NodeNetwork) { n.Subnets = nil }
func sends(id string) func(*plan.NodeNetwork) {
	return func(n *plan.NodeNetwork) { n.Report.Transmit = id }
}
func prepared(ids ...string) func(*plan.NodeNetwork) {
	return func(n *plan.NodeNetwork) { n.Report.Prepared = ids }
}

func TestNext(t *testing.T) {
	a, b, ab := []string{"a"}, []string{"b"}, []string{"a", "b"}
	for name, tc := range map[string]struct {
		nodes   []plan.NodeNetwork
		stage   Stage
		receive []string
		source  string
		waiting []string
	}{
		"no nodes":                            {nil, Settled, b, "b", nil},
		"only a node without a subnet":        {[]plan.NodeNetwork{nn(a, "a", unused)}, Settled, b, "b", nil},
		"settled":                             {[]plan.NodeNetwork{nn(b, "b"), nn(b, "b", silent)}, Settled, b, "b", nil},
		"asked to send what nobody knows":     {[]plan.NodeNetwork{nn(b, "b"), nn(b, "x", stale)}, Settled, b, "b", nil},
		"that, while a target is new":         {[]plan.NodeNetwork{nn(a, "a"), nn(a, "x", stale), nn(a, "x", stale)}, Preparing, ab, "a", []string{"n0", "n1", "n2"}},
		"a new target":                        {[]plan.NodeNetwork{nn(a, "a"), nn(a, "a")}, Preparing, ab, "a", []string{"n0", "n1"}},
		"one has prepared":                    {[]plan.NodeNetwork{nn(ab, "a"), nn(ab, "a", prepared("a"))}, Preparing, ab, "a", []string{"n1"}},
		"asked, and reports for the old spec": {[]plan.NodeNetwork{nn(ab, "a"), nn(ab, "a", stale)}, Preparing, ab, "a", []string{"n1"}},
		"never reported":                      {[]plan.NodeNetwork{nn(ab, "a"), nn(ab, "a", silent)}, Preparing, ab, "a", []string{"n1"}},
		"prepared what it was not asked to":   {[]plan.NodeNetwork{nn(ab, "a"), nn(a, "a", prepared("a", "b"))}, Preparing, ab, "a", []string{"n1"}},
		"all have prepared":                   {[]plan.NodeNetwork{nn(ab, "a"), nn(ab, "a")}, Switching, ab, "b", []string{"n0", "n1"}},
		"a node without a subnet has not":     {[]plan.NodeNetwork{nn(ab, "a"), nn(a, "a", unused)}, Switching, ab, "b", []string{"n0"}},
		"half asked to switch, then a crash":  {[]plan.NodeNetwork{nn(ab, "b", stale, sends("a")), nn(ab, "a")}, Preparing, ab, "a", []string{"n0"}},
		"the asked ones have reported":        {[]plan.NodeNetwork{nn(ab, "b"), nn(ab, "a")}, Switching, ab, "b", []string{"n1"}},
		"all asked":                           {[]plan.NodeNetwork{nn(ab, "b", stale, sends("a")), nn(ab, "b")}, Cleaning, ab, "b", []string{"n0"}},
		"all send":                            {[]plan.NodeNetwork{nn(ab, "b"), nn(ab, "b")}, Settled, b, "b", nil},
		"half cleaned up, then a crash":       {[]plan.NodeNetwork{nn(b, "b", stale), nn(ab, "b")}, Cleaning, ab, "b", []string{"n0"}},
		"the cleaned ones have reported":      {[]plan.NodeNetwork{nn(b, "b"), nn(ab, "b")}, Settled, b, "b", nil},
		"revert with nothing moved":           {[]plan.NodeNetwork{nn(ab, "b"), nn(ab, "b")}, Settled, b, "b", nil},
		"revert half-way":                     {[]plan.NodeNetwork{nn(ab, "a"), nn(ab, "b"), nn(ab, "a")}, Switching, ab, "b", []string{"n0", "n2"}},
		"a joining node not rendered yet":     {[]plan.NodeNetwork{nn(b, "b"), nn(nil, "", silent)}, Settled, b, "b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := map[string]plan.NodeNetwork{}
			for i, n := range tc.nodes {
				nodes[fmt.Sprint("n", i)] = n
			}
			got := Next(rev("b"), nodes)
			var receive []string
			for _, r := range got.Revisions {
				receive = append(receive, r.ID)
			}
			if got.Stage != tc.stage || got.Source != tc.source || !slices.Equal(receive, tc.receive) || !slices.Equal(got.Waiting, tc.waiting) {
				t.Errorf("got %s receive %v source %s waiting for %v, want %s %v %s %v",
					got.Stage, receive, got.Source, got.Waiting, tc.stage, tc.receive, tc.source, tc.waiting)
			}
		})
	}
}

// agent is a node's agent in miniature: what it can really receive and really sends, and what its NodeNetwork says.
type agent struct {
	object   plan.NodeNetwork
	version  int // of spec
	observed int
	receives map[string]bool
	sends    string
}

// act has the agent do what its spec says, in the order of design.md section 3, or only part of it.
func (a *agent) act(rng *rand.Rand) {
	want := map[string]bool{}
	for _, r := range a.object.Revisions {
		want[r.ID] = true
		a.receives[r.ID] = true
	}
	if rng.IntN(4) == 0 {
		return
	}
	a.sends = a.object.Transmit
	for id := range a.receives {
		if !want[id] {
			delete(a.receives, id)
		}
	}
	if rng.IntN(4) == 0 {
		return
	}
	a.observed = a.version
	a.object.Report = plan.Report{Known: true, Prepared: slices.Sorted(maps.Keys(a.receives)), Transmit: a.sends}
}

// TestNextRandomly: planner, agents and users in any order, every write of a step maybe the last one before a crash: no node
// sends what another one cannot receive, and in the end all have what was asked for last.
func TestNextRandomly(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 3))
		agents := map[string]*agent{}
		target := "a"
		for range 200 {
			switch rng.IntN(12) {
			case 0:
				target = []string{"a", "b"}[rng.IntN(2)]
			case 1:
				name := fmt.Sprint("n", rng.IntN(5))
				if agents[name] == nil {
					agents[name] = &agent{receives: map[string]bool{}, object: plan.NodeNetwork{Subnets: []plan.Subnet{{State: v1alpha1.SubnetBound}}}}
					pass(rng, rev(target), agents, map[string]bool{name: true}, 100) // it is rendered as it is made
				}
			case 2:
				if rng.IntN(5) == 0 {
					delete(agents, fmt.Sprint("n", rng.IntN(5)))
				}
			case 3, 4, 5:
				pass(rng, rev(target), agents, nil, rng.IntN(6))
			default:
				if a := agents[fmt.Sprint("n", rng.IntN(5))]; a != nil {
					a.act(rng)
				}
			}
			checkPaths(t, seed, agents)
		}
		for range 60 {
			pass(rng, rev(target), agents, nil, 100)
			for _, a := range agents {
				a.act(rng)
			}
			checkPaths(t, seed, agents)
		}
		for name, a := range agents {
			if got := slices.Sorted(maps.Keys(a.receives)); a.sends != target || !slices.Equal(got, []string{target}) {
				t.Fatalf("seed %d: in the end %s receives %v and sends %s, want %s", seed, name, got, a.sends, target)
			}
		}
	}
}

// pass plans and makes some of the writes: those of the named nodes, or of all.
func pass(rng *rand.Rand, target plan.Revision, agents map[string]*agent, only map[string]bool, writes int) {
	nodes := map[string]plan.NodeNetwork{}
	for name, a := range agents {
		n := a.object
		n.Report.Current = a.observed == a.version
		nodes[name] = n
	}
	step := Next(target, nodes)
	names := slices.Sorted(maps.Keys(agents))
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		a := agents[name]
		transmit := step.Transmit(a.object.Transmit)
		same := a.object.Transmit == transmit && cmp.Equal(a.object.Revisions, step.Revisions)
		if same || only != nil && !only[name] {
			continue
		}
		if writes--; writes < 0 {
			return
		}
		a.object.Revisions, a.object.Transmit = step.Revisions, transmit
		a.version++
	}
}

// checkPaths looks at what agents really do. Nobody sends to a node before it has reported for the first time.
func checkPaths(t *testing.T, seed uint64, agents map[string]*agent) {
	t.Helper()
	for from, a := range agents {
		for to, b := range agents {
			if a.sends != "" && b.object.Report.Known && !b.receives[a.sends] {
				t.Fatalf("seed %d: %s sends %s, which %s does not receive (%v)", seed, from, a.sends, to, b.receives)
			}
		}
	}
}
