package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newTraceCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace NODE|POD-IP|NAMESPACE/POD",
		Short: "Explain which way packets take to a node's pods, a pod or a pod address",
		Long: `Explain which way packets take to a node's pods, a pod or a pod address: which lease the address belongs to, which node has
it, what the other nodes send with, through which device and to which underlay address, and why directly or encapsulated.

It goes by the API objects and sends nothing: "check" sends. Agents count their paths at least once a minute, so an answer may
be that old. Where objects do not tell a path it says "unknown" and what is known.`,
		Example: `  kubectl hopsack trace 10.244.3.17
  kubectl hopsack trace default/web-0 --from n1
  kubectl hopsack trace n3 -o json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.completeNodes(cmd, args, word)
	}
	o := addOutput(cmd, "wide", "json", "yaml")
	from := cmd.Flags().StringSlice("from", nil, "The nodes that send; by default all")
	_ = cmd.RegisterFlagCompletionFunc("from", s.completeNodes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.check(); err != nil {
			return err
		}
		c, err := s.connect()
		if err != nil {
			return err
		}
		report, err := trace(cmd.Context(), c, args[0], *from)
		if err != nil {
			return err
		}
		if done, err := o.structured(s.Out, report); done {
			return err
		}
		return report.print(s.Out, o.wide())
	}
	return cmd
}

// TraceReport is what `kubectl hopsack trace -o json` prints. Fields are only ever added.
type TraceReport struct {
	// Target is what was asked for.
	Target string `json:"target"`
	// Pod is NAMESPACE/NAME, where it is known.
	Pod string `json:"pod,omitempty"`
	IP  string `json:"ip,omitempty"`
	// Note is all there is to say where no lease holds the target.
	Note string `json:"note,omitempty"`

	Subnet     string   `json:"subnet,omitempty"`
	LeaseState string   `json:"leaseState,omitempty"`
	Node       string   `json:"node,omitempty"`
	Underlay   []string `json:"underlay,omitempty"`
	// Paths are by the name of the node that sends.
	Paths []TracedPath `json:"paths"`
}

func trace(ctx context.Context, c client.Reader, target string, from []string) (TraceReport, error) {
	r := TraceReport{Target: target, Paths: []TracedPath{}}
	seen, err := readCluster(ctx, c)
	if err != nil {
		return r, err
	}
	lease, err := locate(ctx, c, seen, &r)
	if err != nil || lease == nil {
		return r, err
	}
	r.Subnet, r.LeaseState, r.Node, r.Underlay = lease.Spec.Subnet, leaseState(lease), lease.Spec.NodeName, seen.underlay(lease.Spec.NodeName)
	for _, name := range from {
		if seen.node(name) == nil {
			return r, fmt.Errorf("--from %q: there is no such node in the pod network", name)
		}
	}
	t := tracer{cluster: seen, segments: newSegments(seen)}
	for i := range seen.nodes {
		if len(from) == 0 || slices.Contains(from, seen.nodes[i].Name) {
			r.Paths = append(r.Paths, t.path(&seen.nodes[i], lease))
		}
	}
	return r, nil
}

// locate finds the lease of the target; none, with a note, where the address is no pod's.
func locate(ctx context.Context, c client.Reader, seen cluster, r *TraceReport) (*v1alpha1.SubnetLease, error) {
	if namespace, name, ok := strings.Cut(r.Target, "/"); ok {
		pod := &corev1.Pod{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); err != nil {
			return nil, explain(err, "read pod "+r.Target)
		}
		r.Pod, r.IP = r.Target, pod.Status.PodIP
		switch {
		case r.IP == "":
			r.Note = "the pod has no address yet (phase " + string(pod.Status.Phase) + ")"
			return nil, nil
		case pod.Spec.HostNetwork:
			r.Note = "the pod uses the network of its node " + pod.Spec.NodeName + ": its packets are the node's, hopsack does not carry them"
			return nil, nil
		}
		return seen.holder(r), nil
	}
	if addr, err := netip.ParseAddr(r.Target); err == nil {
		r.IP = addr.Unmap().String()
		r.Pod = podWith(ctx, c, r.IP)
		return seen.holder(r), nil
	}
	if seen.node(r.Target) == nil {
		return nil, fmt.Errorf("target %q is neither an IP address, nor NAMESPACE/POD, nor a node in the pod network", r.Target)
	}
	for i := range seen.leases {
		if l := &seen.leases[i]; l.Spec.NodeName == r.Target && l.Status.ReleasedAt == nil {
			return l, nil
		}
	}
	r.Note = "the node has no lease yet"
	return nil, nil
}

// podWith names the pod that has the address; "" where none has, or where the user may not look.
func podWith(ctx context.Context, c client.Reader, ip string) string {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("status.podIP", ip)})
	if err != nil {
		return ""
	}
	for _, p := range pods.Items {
		if !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			return p.Namespace + "/" + p.Name
		}
	}
	return ""
}

// holder is the lease that holds the address, or nil with a note.
func (c cluster) holder(r *TraceReport) *v1alpha1.SubnetLease {
	addr, err := netip.ParseAddr(r.IP)
	if err != nil {
		r.Note = "the pod's address cannot be read: " + err.Error()
		return nil
	}
	var best *v1alpha1.SubnetLease
	for i := range c.leases {
		p := prefixOf(c.leases[i])
		if p.IsValid() && p.Contains(addr) && (best == nil || p.Bits() > prefixOf(*best).Bits()) {
			best = &c.leases[i]
		}
	}
	if best != nil {
		return best
	}
	r.Note = "no lease holds the address, and it is outside of the pod network: packets to it leave by the node's own routes"
	if e := c.config.Status.Effective; e != nil {
		if p, err := netip.ParsePrefix(e.Network); err == nil && p.Contains(addr) {
			r.Note = "the address is in the pod network, but no lease holds it: nodes answer that it is unreachable"
		}
	}
	return nil
}

func leaseState(l *v1alpha1.SubnetLease) string {
	if c := meta.FindStatusCondition(l.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

func conditionTrue(nn *v1alpha1.NodeNetwork, kind string) bool {
	return meta.IsStatusConditionTrue(nn.Status.Conditions, kind)
}

func (r TraceReport) print(out io.Writer, wide bool) error {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-10s%s\n", name+":", value)
		}
	}
	field("Target", r.Target)
	field("Pod", r.Pod)
	if r.IP != r.Target {
		field("Address", r.IP)
	}
	if r.Note != "" {
		fmt.Fprintln(out, r.Note)
		return nil
	}
	field("Lease", r.Subnet+" ("+cmp.Or(r.LeaseState, "no state yet")+")")
	field("Node", r.Node)
	field("Underlay", strings.Join(r.Underlay, ", "))
	fmt.Fprintln(out)
	var rows [][]string
	for _, p := range r.grouped(wide) {
		rows = append(rows, []string{p.From, p.Revision, p.Path, p.Device, p.NextHop, p.Why})
	}
	return table(out, []string{"FROM", "REVISION", "PATH", "DEVICE", "NEXT HOP", "WHY"}, rows)
}

// grouped joins nodes whose packets go the same way for the same reason, unless every node is wanted on a line of its own.
func (r TraceReport) grouped(every bool) []TracedPath {
	if every {
		return r.Paths
	}
	var out []TracedPath
	members := map[TracedPath][]string{}
	for _, p := range r.Paths {
		from := p.From
		p.From = ""
		if members[p] == nil {
			out = append(out, p)
		}
		members[p] = append(members[p], from)
	}
	for i, p := range out {
		all := members[p]
		out[i].From = names(all[:min(len(all), 4)], int32(len(all)))
	}
	return out
}

// completeNodes completes the names of nodes.
func (s *session) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := s.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	nodes, err := list(cmd.Context(), c, &v1alpha1.NodeNetworkList{}, "nodenetworks")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, n := range nodes.Items {
		out = append(out, n.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
