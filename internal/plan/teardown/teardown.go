package teardown

import (
	"maps"
	"slices"

	"github.com/hopsack-net/hopsack/internal/plan"
)

// Step is what the removal needs next.
type Step struct {
	// InUse lists the nodes with a subnet in use: without any, nobody has to be asked.
	InUse []string
	// Blocking lists the live nodes whose agents have not reported to be clean.
	Blocking []string
	// Lost lists the nodes among those that have no NodeNetwork any more, although a lease is held for them: it has to be made
	// again before their agents can be asked. That it is missing is no word of theirs.
	Lost []string
	// Skipped lists the nodes that nobody waits for, because they are not live; what hopsack made stays on them.
	Skipped []string
}

// Clean says that everything may go.
func (s Step) Clean() bool { return len(s.Blocking) == 0 }

// Next finds the step. All lists are sorted.
func Next(cluster plan.Cluster) Step {
	var s Step
	for _, name := range slices.Sorted(maps.Keys(cluster.NodeNetworks)) {
		nn := cluster.NodeNetworks[name]
		node, exists := cluster.Nodes[name]
		if !exists {
			continue
		}
		if nn.InUse() {
			s.InUse = append(s.InUse, name)
		}
		clean := nn.Teardown && nn.Report.Known && nn.Report.Current && nn.Report.CleanedUp
		switch {
		case clean || !nn.InUse() && !nn.Report.Known:
		case node.Ready:
			s.Blocking = append(s.Blocking, name)
		default:
			s.Skipped = append(s.Skipped, name)
		}
	}
	for _, l := range cluster.SortedLeases() {
		node, exists := cluster.Nodes[l.Node]
		if _, known := cluster.NodeNetworks[l.Node]; !exists || known || l.Released() || !l.Held && !l.Published {
			continue
		}
		s.InUse, s.Lost = append(s.InUse, l.Node), append(s.Lost, l.Node)
		if node.Ready {
			s.Blocking = append(s.Blocking, l.Node)
		} else {
			s.Skipped = append(s.Skipped, l.Node)
		}
	}
	for _, list := range []*[]string{&s.InUse, &s.Blocking, &s.Lost, &s.Skipped} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return s
}
