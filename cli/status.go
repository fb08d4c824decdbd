package cli

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newStatusCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the network, a change of it that is under way, and every node",
		Long: `Show the network, a change of it that is under way, and every node.

Columns: REVISION is what the node sends with ("old>new": asked to move, not confirmed yet). DIRECT and ENCAPSULATED count its
peers by how packets go to them. VERIFIED is how many peers were proven to be reachable with the revision that is being
rolled out, or else with the one in force. The exit code is 0 whatever the status is: "rollout status" and "check" judge.`,
		Example: `  kubectl hopsack status
  kubectl hopsack status -o wide
  kubectl hopsack status -o json | jq '.nodes[] | select(.ready != "True") | .name'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o := addOutput(cmd, "wide", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		c, err := s.connect()
		if err != nil {
			return err
		}
		seen, err := readCluster(cmd.Context(), c)
		if err != nil {
			return err
		}
		if done, err := o.structured(s.Out, newReport(seen)); done {
			return err
		}
		return printStatus(s.Out, newReport(seen), newProgress(seen.config, time.Now()), o.wide())
	}
	return cmd
}

// printStatus prints the report for people; progress is that of the rollout.
func printStatus(out io.Writer, r Report, p progress, wide bool) error {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-16s%s\n", name+":", fmt.Sprintf(format, args...))
	}
	if r.Network == "" {
		field("Network", "none is in effect yet")
	} else {
		field("Network", "%s, %d of %d subnets free", r.Network, r.Subnets.Free, r.Subnets.Total)
		field("Backend", "%s", r.backend())
		field("MTU", "%s", r.mtu())
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionProgressing, v1alpha1.ConditionStalled, v1alpha1.ConditionAgentsConfined} {
		for _, c := range r.Conditions {
			if c.Type == kind && (wide || worthSaying(c)) {
				if kind == v1alpha1.ConditionReady && p.brief != "" {
					c.Message = "" // Stalled says the same
				}
				field(kind, "%s", describeCondition(c))
			}
		}
	}
	field("Rollout", "%s", cmp.Or(p.brief, p.line))
	printPairs(out, "Failing", r.FailingPairs, r.FailingPairCount)
	printPairs(out, "Encapsulated although on the same segment", r.EncapsulatedPairs, r.EncapsulatedPairCount)
	fmt.Fprintln(out)
	header := []string{"NODE", "SUBNET", "UNDERLAY", "REVISION", "BACKEND", "DIRECT", "ENCAPSULATED", "VERIFIED", "READY"}
	if wide {
		header = append(header, "REASON", "INTERFACE", "MTU", "PREPARED", "MESSAGE")
	}
	var rows [][]string
	for _, n := range r.Nodes {
		rows = append(rows, n.cells(wide))
	}
	return table(out, header, rows)
}

// backend is the backend in words; while nodes are moved to another one, or are to be, both.
func (r Report) backend() string {
	for _, n := range r.Nodes {
		if n.Revision == r.ActiveRevision && n.Backend.Type != "" && !sameBackend(n.Backend, r.Backend) {
			return describeBackend(n.Backend) + ", being changed to " + describeBackend(r.Backend)
		}
	}
	return describeBackend(r.Backend)
}

// mtu is the MTU in words; where it follows from the underlay's, with what nodes have made of it.
func (r Report) mtu() string {
	least, most := int32(0), int32(0)
	for _, n := range r.Nodes {
		if n.MTU != 0 {
			least, most = min(cmp.Or(least, n.MTU), n.MTU), max(most, n.MTU)
		}
	}
	switch {
	case r.MTU != 0 || most == 0:
		return describeMTU(r.MTU)
	case least == most:
		return fmt.Sprintf("%d: %s", most, describeMTU(0))
	default:
		return fmt.Sprintf("%d to %d: %s", least, most, describeMTU(0))
	}
}

// worthSaying leaves out conditions that are as they should be and say no more than that.
func worthSaying(c metav1.Condition) bool {
	switch c.Type {
	case v1alpha1.ConditionStalled, v1alpha1.ConditionProgressing:
		return c.Status == metav1.ConditionTrue
	case v1alpha1.ConditionAgentsConfined:
		return c.Status != metav1.ConditionTrue
	}
	return true
}

func describeCondition(c metav1.Condition) string {
	text := string(c.Status)
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}

func printPairs(out io.Writer, title string, pairs []v1alpha1.NodePair, total int32) {
	if total == 0 && len(pairs) == 0 {
		return
	}
	fmt.Fprintf(out, "%s: %s\n", title, plural(max(int(total), len(pairs)), "pair"))
	for _, line := range describePairs(pairs, total, len(pairs)) {
		fmt.Fprintf(out, "  %s\n", line)
	}
}

// describePairs are at most limit pairs, one to a line, and how many more there are.
func describePairs(pairs []v1alpha1.NodePair, total int32, limit int) []string {
	var out []string
	for i, p := range pairs {
		if i == limit {
			break
		}
		why := p.Message
		if why == "" {
			why = p.Reason
		}
		out = append(out, fmt.Sprintf("%s -> %s: %s", p.From, p.To, why))
	}
	if more := max(int(total), len(pairs)) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}

func itoa[N int | int32 | int64](n N) string { return strconv.FormatInt(int64(n), 10) }
