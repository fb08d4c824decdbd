package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

const (
	// widestMatrix is the number of nodes up to which a matrix fits a terminal; status lists as many failing peers.
	widestMatrix = 16
	// slowest is how many nodes are named by their slowest round trip.
	slowest = 5
)

// print is the report for people; wide prints every node's round trips.
func (r CheckReport) print(out io.Writer, wide bool) error {
	columns := r.columns()
	if len(columns) <= widestMatrix && len(r.Nodes) > 0 {
		if err := r.matrix(out, columns); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	if failures := r.failures(); len(failures) > 0 {
		fmt.Fprintf(out, "%s\n\n", strings.Join(failures, "\n"))
	}
	if err := r.roundTrips(out, wide); err != nil {
		return err
	}
	if len(r.Silent) > 0 {
		fmt.Fprintf(out, "no answer from: %s\n", strings.Join(r.Silent, ", "))
	}
	if len(r.NotLive) > 0 {
		fmt.Fprintf(out, "not asked, because they are not Ready: %s\n", strings.Join(r.NotLive, ", "))
	}
	fmt.Fprintf(out, "%d of %s work\n", r.Paths-r.Failed, plural(r.Paths, "path"))
	return nil
}

// columns are all nodes there is something to say of.
func (r CheckReport) columns() []string {
	out := slices.Concat(r.Silent, r.NotLive)
	for _, n := range r.Nodes {
		out = append(out, n.Name)
		for _, f := range n.Failing {
			out = append(out, f.Node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// matrix has "ok", the reason of the failure, or "?" in its cells: a node reports at most 16 of the peers that fail, and says
// nothing of single peers that it was not to probe.
func (r CheckReport) matrix(out io.Writer, columns []string) error {
	var rows [][]string
	for _, n := range r.Nodes {
		row := []string{n.Name}
		for _, to := range columns {
			row = append(row, n.cell(to, r.probed(to)))
		}
		rows = append(rows, row)
	}
	return table(out, append([]string{"FROM \\ TO"}, columns...), rows)
}

// probed says whether the others were to probe the node: it took part.
func (r CheckReport) probed(node string) bool {
	return slices.ContainsFunc(r.Nodes, func(n CheckedNode) bool { return n.Name == node })
}

func (n CheckedNode) cell(to string, probed bool) string {
	if n.Name == to {
		return ""
	}
	i := slices.IndexFunc(n.Failing, func(f v1alpha1.FailingPeer) bool { return f.Node == to })
	complete := int(n.Peers-n.Reached) == len(n.Failing)
	switch {
	case i >= 0:
		return n.Failing[i].Reason
	case probed && complete:
		return "ok"
	default:
		return "?"
	}
}

func (r CheckReport) failures() []string {
	var out []string
	for _, n := range r.Nodes {
		for _, f := range n.Failing {
			out = append(out, fmt.Sprintf("%s -> %s: %s", n.Name, f.Node, cmp.Or(f.Message, f.Reason)))
		}
		if more := int(n.Peers-n.Reached) - len(n.Failing); more > 0 {
			out = append(out, fmt.Sprintf("%s -> %d more", n.Name, more))
		}
	}
	return out
}

func (r CheckReport) roundTrips(out io.Writer, all bool) error {
	byTime := slices.Clone(r.Nodes)
	byTime = slices.DeleteFunc(byTime, func(n CheckedNode) bool { return n.SlowestMicroseconds == 0 })
	slices.SortStableFunc(byTime, func(a, b CheckedNode) int { return cmp.Compare(b.SlowestMicroseconds, a.SlowestMicroseconds) })
	if !all && len(byTime) > slowest {
		byTime = byTime[:slowest]
	}
	if len(byTime) == 0 {
		return nil
	}
	var rows [][]string
	for _, n := range byTime {
		rows = append(rows, []string{n.Name, itoa(n.Reached) + "/" + itoa(n.Peers), micros(n.MedianMicroseconds), micros(n.SlowestMicroseconds)})
	}
	if err := table(out, []string{"NODE", "REACHED", "MEDIAN", "SLOWEST"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return nil
}

func micros(us int64) string { return (time.Duration(us) * time.Microsecond).String() }
