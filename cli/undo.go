package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

func newUndoCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo",
		Short: "Put back the backend and MTU of an earlier revision",
		Long: `Put back the backend and MTU of an earlier revision: by default of the last one that every node used and that is not what
the spec asks for now. It changes spec.backend and spec.mtu of the NetworkConfig and, so that the next "kubectl apply" finds
its way, what that command remembers of them; and only if nobody changes the object at the same time. That is a change like any other: it is prepared, verified and rolled out, and it may be made while
another one is under way.

Where git holds the NetworkConfig, change it there instead: the GitOps tool would put its own version back.`,
		Example: `  # Back to what was in effect before
  kubectl hopsack rollout undo && kubectl hopsack rollout status

  # What would be written?
  kubectl hopsack rollout undo --to-revision 3f2a9c01 --dry-run=server`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	dry := addDryRun(cmd)
	to := cmd.Flags().String("to-revision", "", "The revision to go back to (or the beginning of its name), see rollout history")
	registerRevisions(cmd, "to-revision", s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := dry.check(); err != nil {
			return err
		}
		c, err := s.connect()
		if err != nil {
			return err
		}
		return s.undo(cmd.Context(), c, *to, dry)
	}
	return cmd
}

func (s *session) undo(ctx context.Context, c client.Client, to string, dry *dryRun) error {
	cfg, err := networkConfig(ctx, c)
	if err != nil {
		return err
	}
	record, err := goBackTo(cfg, to)
	if err != nil {
		return fmt.Errorf("networkconfig %s: %w", cfg.Name, err)
	}
	before := cfg.DeepCopy()
	restore(&cfg.Spec, record)
	keepApplied(cfg)
	if err := dry.patch(ctx, c, cfg, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "networkconfig/%s goes back to revision %s: %s, MTU %s%s\n", cfg.Name, record.Revision,
		describeBackend(record.Backend), describeMTU(record.MTU), dry.suffix())
	if who := managedBy(cfg); who != "" {
		wanted, err := yaml.Marshal(map[string]any{"backend": cfg.Spec.Backend, "mtu": record.MTU})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.ErrOut, "warning: the object is managed by %s, which will put its own version back. Put this in git, under spec:\n%s", who, wanted)
	}
	return nil
}

// goBackTo finds the record to go back to.
func goBackTo(cfg *v1alpha1.NetworkConfig, to string) (v1alpha1.RevisionRecord, error) {
	history := cfg.Status.History
	if to == "" {
		for _, r := range history {
			if r.Outcome == v1alpha1.OutcomeCompleted && !asksFor(cfg.Spec, r) {
				return r, nil
			}
		}
		return v1alpha1.RevisionRecord{}, errors.New("there is nothing to go back to: its history has no other revision that every node used")
	}
	var found []v1alpha1.RevisionRecord
	for _, r := range history {
		known := slices.ContainsFunc(found, func(o v1alpha1.RevisionRecord) bool { return o.Revision == r.Revision })
		if strings.HasPrefix(r.Revision, to) && !known {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return v1alpha1.RevisionRecord{}, fmt.Errorf("--to-revision %q: there is no such revision in its history (%s)", to, orNone(strings.Join(revisions(cfg), ", ")))
	case len(found) > 1:
		return v1alpha1.RevisionRecord{}, fmt.Errorf("--to-revision %q: %s and %s begin like that", to, found[0].Revision, found[1].Revision)
	case asksFor(cfg.Spec, found[0]):
		return v1alpha1.RevisionRecord{}, fmt.Errorf("--to-revision %q: that is what the spec asks for", to)
	}
	return found[0], nil
}

// asksFor says whether the spec, with its defaults, asks for the record's backend and MTU.
func asksFor(spec v1alpha1.NetworkConfigSpec, r v1alpha1.RevisionRecord) bool {
	mtu := int32(0)
	if spec.MTU != nil {
		mtu = *spec.MTU
	}
	return sameBackend(spec.Backend, r.Backend) && mtu == r.MTU
}

// sameBackend compares backends with their defaults. One that cannot work is the same as none.
func sameBackend(a, b v1alpha1.Backend) bool {
	x, err := network.BackendFromAPI(a)
	if err != nil {
		return false
	}
	y, err := network.BackendFromAPI(b)
	return err == nil && x == y
}

// restore writes the record's backend and MTU into the spec, and no more than differs.
func restore(spec *v1alpha1.NetworkConfigSpec, r v1alpha1.RevisionRecord) {
	if !reflect.DeepEqual(spec.Backend, r.Backend) {
		spec.Backend = *r.Backend.DeepCopy()
	}
	if spec.MTU != nil || r.MTU != 0 {
		spec.MTU = &r.MTU
	}
}

// keepApplied has the annotation of "kubectl apply" know of what restore wrote. The next apply takes away what stands there and
// not in its file; what it never heard of would stay, and a backend of one type keep the settings of another. An annotation
// that cannot be read is left as it is: kubectl says so, and going back must not fail for it.
func keepApplied(cfg *v1alpha1.NetworkConfig) {
	applied := map[string]any{}
	if json.Unmarshal([]byte(cfg.Annotations[corev1.LastAppliedConfigAnnotation]), &applied) != nil {
		return
	}
	spec, ok := applied["spec"].(map[string]any)
	if !ok {
		return // nothing of the spec was applied, so nothing of it will be taken away
	}
	spec["backend"] = cfg.Spec.Backend
	if cfg.Spec.MTU != nil {
		spec["mtu"] = *cfg.Spec.MTU
	}
	if out, err := json.Marshal(applied); err == nil {
		cfg.Annotations[corev1.LastAppliedConfigAnnotation] = string(out) + "\n"
	}
}

// revisions are the names in the history, the newest first.
func revisions(cfg *v1alpha1.NetworkConfig) []string {
	var out []string
	for _, r := range cfg.Status.History {
		if !slices.Contains(out, r.Revision) {
			out = append(out, r.Revision)
		}
	}
	return out
}

// registerRevisions completes a flag with the revisions of the history.
func registerRevisions(cmd *cobra.Command, flag string, s *session) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		_, cfg, err := s.read(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []string
		for _, r := range cfg.Status.History {
			out = append(out, cobra.CompletionWithDesc(r.Revision, describeBackend(r.Backend)+", "+string(r.Outcome)))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	})
}

func newHistoryCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the last ten revisions and how they fared",
		Example: `  kubectl hopsack rollout history
  kubectl hopsack rollout history -o wide`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o := addOutput(cmd, "wide", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		_, cfg, err := s.read(cmd.Context())
		if err != nil {
			return err
		}
		history := append([]v1alpha1.RevisionRecord{}, cfg.Status.History...)
		if done, err := o.structured(s.Out, history); done {
			return err
		}
		if len(history) == 0 {
			fmt.Fprintf(s.ErrOut, "networkconfig %s has no history yet\n", cfg.Name)
			return nil
		}
		return printHistory(s, history, time.Now(), o.wide())
	}
	return cmd
}

func printHistory(s *session, history []v1alpha1.RevisionRecord, now time.Time, wide bool) error {
	header := []string{"REVISION", "GENERATION", "BACKEND", "MTU", "OUTCOME", "TOOK", "AGE"}
	if wide {
		header = append(header, "MESSAGE")
	}
	var rows [][]string
	for _, r := range history {
		mtu := ""
		if r.MTU != 0 {
			mtu = itoa(r.MTU)
		}
		row := []string{r.Revision, itoa(r.Generation), describeBackend(r.Backend), mtu, string(r.Outcome),
			between(r.StartedAt, r.EndedAt), since(r.StartedAt, now)}
		if wide {
			row = append(row, r.Message)
		}
		rows = append(rows, row)
	}
	return table(s.Out, header, rows)
}

func between(from, to *metav1.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return duration.HumanDuration(to.Sub(from.Time))
}

func since(t *metav1.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return duration.HumanDuration(now.Sub(t.Time))
}
