package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func newRolloutCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Follow, hold, resume, repeat or take back a change of the network",
		Example: `  kubectl hopsack rollout status
  kubectl hopsack rollout pause
  kubectl hopsack rollout undo --dry-run=server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRolloutStatusCommand(s), newPauseCommand(s), newResumeCommand(s), newRetryCommand(s),
		newUndoCommand(s), newHistoryCommand(s))
	return cmd
}

func newPauseCommand(s *session) *cobra.Command {
	return newAnnotateCommand(s, &cobra.Command{
		Use:   "pause",
		Short: "Hold a change: no further node is moved",
		Long: `Hold a change: no further node is moved. Nodes that were moved stay where they are; both ways of sending go on working. It
sets the annotation ` + v1alpha1.PausedAnnotation + `, which also holds changes made later.`,
		Example: `  kubectl hopsack rollout pause`,
	}, "paused", func(cfg *v1alpha1.NetworkConfig) (string, error) {
		if cfg.Annotations[v1alpha1.PausedAnnotation] == "true" {
			return "paused already", nil
		}
		annotate(cfg, v1alpha1.PausedAnnotation, "true")
		return "", nil
	})
}

func newResumeCommand(s *session) *cobra.Command {
	return newAnnotateCommand(s, &cobra.Command{
		Use:     "resume",
		Short:   "Let a held change go on",
		Long:    `Let a held change go on: take the annotation ` + v1alpha1.PausedAnnotation + ` off.`,
		Example: `  kubectl hopsack rollout resume && kubectl hopsack rollout status`,
	}, "resumed", func(cfg *v1alpha1.NetworkConfig) (string, error) {
		if _, held := cfg.Annotations[v1alpha1.PausedAnnotation]; !held {
			return "not paused", nil
		}
		delete(cfg.Annotations, v1alpha1.PausedAnnotation)
		return "", nil
	})
}

func newRetryCommand(s *session) *cobra.Command {
	return newAnnotateCommand(s, &cobra.Command{
		Use:   "retry",
		Short: "Try again a change that failed after a node was switched",
		Long: `Try again a change that failed after a node was switched and was taken back, or held. It gives the annotation
` + v1alpha1.RetryAnnotation + ` a new value. A change that is stalled because paths do not work needs no retry: it goes on by
itself when they do.`,
		Example: `  kubectl hopsack rollout retry && kubectl hopsack rollout status`,
	}, "will be tried again", func(cfg *v1alpha1.NetworkConfig) (string, error) {
		r := cfg.Status.Rollout
		if r == nil || r.Failure == nil || r.Failure.Generation != cfg.Generation {
			return "", fmt.Errorf("networkconfig %s: generation %d has not failed, so there is nothing to try again", cfg.Name, cfg.Generation)
		}
		annotate(cfg, v1alpha1.RetryAnnotation, newRequest(time.Now()))
		return "", nil
	})
}

// newRequest is a value that an annotation has never had: the time, for people, and chance.
func newRequest(now time.Time) string {
	return now.UTC().Format("2006-01-02T15:04:05Z") + "-" + strings.ToLower(rand.Text()[:10])
}

func annotate(cfg *v1alpha1.NetworkConfig, key, value string) {
	if cfg.Annotations == nil {
		cfg.Annotations = map[string]string{}
	}
	cfg.Annotations[key] = value
}

// newAnnotateCommand completes cmd so that it makes change to the NetworkConfig's annotations. change returns a note when
// there is nothing to do.
func newAnnotateCommand(s *session, cmd *cobra.Command, done string, change func(*v1alpha1.NetworkConfig) (note string, err error)) *cobra.Command {
	dry := addDryRun(cmd)
	cmd.Args, cmd.ValidArgsFunction = cobra.NoArgs, cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := dry.check(); err != nil {
			return err
		}
		c, cfg, err := s.read(cmd.Context())
		if err != nil {
			return err
		}
		before := cfg.DeepCopy()
		note, err := change(cfg)
		if err != nil {
			return err
		}
		if note == "" {
			if err := dry.patch(cmd.Context(), c, cfg, client.MergeFrom(before)); err != nil {
				return err
			}
			note = done
		}
		fmt.Fprintf(s.Out, "networkconfig/%s %s%s\n", cfg.Name, note, dry.suffix())
		if who := managedBy(cfg); who != "" {
			fmt.Fprintf(s.ErrOut, "note: the object is managed by %s; it must leave the annotations of %s alone (docs/gitops.md)\n", who, v1alpha1.GroupVersion.Group)
		}
		return nil
	}
	return cmd
}

// dryRun is the flag --dry-run, with kubectl's values.
type dryRun struct{ value string }

func addDryRun(cmd *cobra.Command) *dryRun {
	d := &dryRun{}
	cmd.Flags().StringVar(&d.value, "dry-run", "none", `"none", "server" (the API server checks and keeps nothing) or "client" (say what would be done)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "server", "client"}, cobra.ShellCompDirectiveNoFileComp))
	return d
}

func (d *dryRun) check() error {
	switch d.value {
	case "none", "server", "client":
		return nil
	}
	return fmt.Errorf("--dry-run: %q is not one of none, server, client", d.value)
}

func (d *dryRun) suffix() string {
	if d.value == "none" {
		return ""
	}
	return " (" + d.value + " dry run)"
}

// patch writes obj as --dry-run says.
func (d *dryRun) patch(ctx context.Context, c client.Client, obj client.Object, patch client.Patch) error {
	opts := []client.PatchOption{client.FieldOwner(fieldOwner)}
	switch d.value {
	case "client":
		return nil
	case "server":
		opts = append(opts, &client.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	}
	err := c.Patch(ctx, obj, patch, opts...)
	if apierrors.IsConflict(err) {
		return fmt.Errorf("write networkconfig %s: somebody else changed it at the same time, look at it and try again: %w", obj.GetName(), err)
	}
	return explain(err, "write networkconfig "+obj.GetName())
}
