package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newCheckCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Have every node probe every other one now, and show which paths work",
		Long: `Have every node probe every other one now, over the paths that pods' packets take now, with pod addresses, small and of
full size, and show which work. Packets really travel; nothing is changed but the annotation ` + v1alpha1.CheckAnnotation + `.

Nodes that are not Ready are named and not waited for. Up to 16 nodes make a matrix (a row is the node that probed, a column the
one that was to answer); more make a list of what fails, and totals. A round trip is measured in user space: compare it with
others here, not with ping.

Exit codes: 0 every path works, 1 error, 2 some path does not, 3 some node has not answered within --timeout.`,
		Example: `  kubectl hopsack check
  kubectl hopsack check -o json | jq '.nodes[] | select(.reached < .peers)'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o := addOutput(cmd, "wide", "json", "yaml")
	timeout := cmd.Flags().Duration("timeout", time.Minute, "How long to wait for the nodes' answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		if *timeout <= 0 {
			return fmt.Errorf("--timeout: %s is not positive", *timeout)
		}
		return s.check(cmd.Context(), *timeout, o)
	}
	return cmd
}

func (s *session) check(ctx context.Context, timeout time.Duration, o *output) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	cfg, err := networkConfig(ctx, c)
	if err != nil {
		return err
	}
	awaited, err := awaitedNodes(ctx, c)
	if err != nil {
		return err
	}
	request := newRequest(time.Now())
	before := cfg.DeepCopy()
	annotate(cfg, v1alpha1.CheckAnnotation, request)
	if err := c.Patch(ctx, cfg, client.MergeFrom(before), client.FieldOwner(fieldOwner)); err != nil {
		return explain(err, "ask for a check in networkconfig "+cfg.Name)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results, err := gather(waiting, c, request, awaited.live)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	report := newCheckReport(request, results, awaited)
	if done, err := o.structured(s.Out, report); done {
		if err != nil {
			return err
		}
		return report.judge(timeout)
	}
	if err := report.print(s.Out, o.wide()); err != nil {
		return err
	}
	return report.judge(timeout)
}

// awaited are the nodes that take part in a check.
type awaited struct {
	live, notLive []string // sorted
}

// awaitedNodes are the nodes that have a subnet in use, by whether they can be expected to answer.
func awaitedNodes(ctx context.Context, c client.Reader) (awaited, error) {
	var out awaited
	networks, err := list(ctx, c, &v1alpha1.NodeNetworkList{}, "nodenetworks")
	if err != nil {
		return out, err
	}
	nodes, err := list(ctx, c, &corev1.NodeList{}, "nodes")
	if err != nil {
		return out, err
	}
	alive := map[string]bool{}
	for i := range nodes.Items {
		alive[nodes.Items[i].Name] = live(&nodes.Items[i], time.Now())
	}
	for _, nn := range networks.Items {
		inUse := slices.ContainsFunc(nn.Spec.Subnets, func(s v1alpha1.NodeSubnet) bool { return s.State != v1alpha1.SubnetIntended })
		if !inUse {
			continue
		}
		if alive[nn.Name] {
			out.live = append(out.live, nn.Name)
		} else {
			out.notLive = append(out.notLive, nn.Name)
		}
	}
	slices.Sort(out.live)
	slices.Sort(out.notLive)
	return out, nil
}

// gather waits until all nodes have answered the request. What was answered before ctx ended is returned with its error.
func gather(ctx context.Context, c client.WithWatch, request string, nodes []string) (map[string]v1alpha1.CheckResult, error) {
	results := map[string]v1alpha1.CheckResult{}
	take := func(nn *v1alpha1.NodeNetwork) {
		if r := nn.Status.Check; r != nil && r.Request == request {
			results[nn.Name] = *r
		}
	}
	missing := func() bool {
		return slices.ContainsFunc(nodes, func(n string) bool { _, ok := results[n]; return !ok })
	}
	for missing() {
		if err := gatherOnce(ctx, c, take, missing); err != nil {
			return results, err
		}
		if !missing() {
			break
		}
		select {
		case <-ctx.Done():
			return results, ctx.Err()
		case <-time.After(reconnectAfter):
		}
	}
	return results, nil
}

// gatherOnce reads all NodeNetworks and watches them until nothing is missing or the watch breaks.
func gatherOnce(ctx context.Context, c client.WithWatch, take func(*v1alpha1.NodeNetwork), missing func() bool) error {
	all, err := list(ctx, c, &v1alpha1.NodeNetworkList{}, "nodenetworks")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && retriable(err):
		return nil
	case err != nil:
		return err
	}
	for i := range all.Items {
		take(&all.Items[i])
	}
	if !missing() {
		return nil
	}
	w, err := c.Watch(ctx, &v1alpha1.NodeNetworkList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: all.ResourceVersion}})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if retriable(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return nil
		}
		return fmt.Errorf("watch nodenetworks: %w", err)
	}
	defer w.Stop()
	for missing() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-w.ResultChan():
			if !open || event.Type == watch.Error {
				return nil
			}
			if nn, ok := event.Object.(*v1alpha1.NodeNetwork); ok {
				take(nn)
			}
		}
	}
	return nil
}

// CheckReport is what `kubectl hopsack check -o json` prints. Fields are only ever added.
type CheckReport struct {
	Request string `json:"request"`
	// Nodes are those that answered, in the order of their names.
	Nodes []CheckedNode `json:"nodes"`
	// Silent are live nodes that have not answered in time, NotLive those that nobody waited for.
	Silent  []string `json:"silent,omitempty"`
	NotLive []string `json:"notLive,omitempty"`
	// Paths counts those probed, Failed those that do not work.
	Paths  int `json:"paths"`
	Failed int `json:"failed"`
}

// CheckedNode is the answer of one node.
type CheckedNode struct {
	Name                 string `json:"name"`
	v1alpha1.CheckResult `json:",inline"`
}

func newCheckReport(request string, results map[string]v1alpha1.CheckResult, a awaited) CheckReport {
	r := CheckReport{Request: request, NotLive: a.notLive, Nodes: []CheckedNode{}}
	for _, name := range slices.Sorted(maps.Keys(results)) {
		n := CheckedNode{Name: name, CheckResult: results[name]}
		r.Nodes = append(r.Nodes, n)
		r.Paths += int(n.Peers)
		r.Failed += int(n.Peers - n.Reached)
	}
	for _, name := range a.live {
		if _, ok := results[name]; !ok {
			r.Silent = append(r.Silent, name)
		}
	}
	return r
}

// judge turns the report into an exit code.
func (r CheckReport) judge(timeout time.Duration) error {
	switch {
	case r.Failed > 0:
		return exitWith(ExitFailed, "%d of %s failed", r.Failed, plural(r.Paths, "path"))
	case len(r.Silent) > 0:
		return exitWith(ExitTimeout, "no answer within %s from %s", timeout, strings.Join(r.Silent, ", "))
	}
	return nil
}
