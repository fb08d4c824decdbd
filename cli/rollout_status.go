package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// patience is how long a failed verification must last before it counts: paths are probed again within 5 seconds, and a change
// goes on by itself when they work.
const patience = 10 * time.Second

type rolloutStatusOptions struct {
	watch    bool
	timeout  time.Duration
	patience time.Duration
	revision string
}

func newRolloutStatusCommand(s *session) *cobra.Command {
	o := &rolloutStatusOptions{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Follow a change of the network until it is over",
		Long: `Follow a change of the network until it is over; print a line whenever something comes of it.

It judges the spec that is in the cluster when it starts, or any newer one: as long as the controller has not taken up the
last "kubectl apply", it waits. A failed verification ends it only after it has lasted --stall-patience, because a change goes
on by itself when the paths begin to work. When every node sends the new way, it waits as long at most for all of them to be
ready; a node that is not is named, and does not change the exit code.

Exit codes: 0 completed (or verified, with strategy VerifyOnly), 1 error, 2 stalled, refused, failed or rolled back, or another
revision took the place of the one named by --revision, 3 --timeout is over, 4 paused. With --watch=false it prints one line and
says how it stands now; 3 means then that it is still under way.`,
		Example: `  # In a pipeline
  kubectl apply -f networkconfig.yaml
  kubectl hopsack rollout status --timeout 10m

  # One line, now
  kubectl hopsack rollout status --watch=false

  # Wait for a certain revision, which "rollout history" names
  kubectl hopsack rollout status --revision 3f2a9c01`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return s.rolloutStatus(cmd.Context(), *o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.watch, "watch", "w", true, "Wait until it is over")
	f.DurationVar(&o.timeout, "timeout", 0, "How long to wait, for example 10m; 0 waits for ever")
	f.DurationVar(&o.patience, "stall-patience", patience, "How long a failed verification, or a node that is not ready, must last to count")
	f.StringVar(&o.revision, "revision", "", "Wait for this revision (or the beginning of its name) and no other")
	registerRevisions(cmd, "revision", s)
	return cmd
}

func (s *session) rolloutStatus(ctx context.Context, o rolloutStatusOptions) error {
	if o.timeout < 0 {
		return fmt.Errorf("--timeout: %s is negative", o.timeout)
	}
	if o.patience < 0 {
		return fmt.Errorf("--stall-patience: %s is negative", o.patience)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	w := &watcher{out: s.Out, options: o, now: time.Now, wake: make(chan time.Time, 1), shown: map[string]bool{}}
	if !o.watch {
		cfg, err := networkConfig(ctx, c)
		if err != nil {
			return err
		}
		return w.once(cfg)
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	err = follow(ctx, c, w.wake, w.see)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && w.last == "":
		return exitWith(ExitTimeout, "not read within %s", o.timeout)
	case errors.Is(err, context.DeadlineExceeded):
		return exitWith(ExitTimeout, "not over after %s", o.timeout)
	}
	return err
}

// watcher prints progress and finds out when it is over.
type watcher struct {
	out     io.Writer
	options rolloutStatusOptions
	now     func() time.Time

	last       string          // what was printed last, without its time
	cause      string          // why it is stalled, as printed last
	shown      map[string]bool // the details printed since, by pair
	generation int64
	lasting    outcome   // what it has been
	since      time.Time // since then
	wake       chan time.Time
}

// see prints what is new. The error, when it is over, carries the exit code.
func (w *watcher) see(cfg *v1alpha1.NetworkConfig) (over bool, err error) {
	if w.generation != 0 && cfg.Generation != w.generation {
		w.print(progress{line: fmt.Sprintf("the spec has changed: generation %d", cfg.Generation)})
	}
	w.generation = cfg.Generation
	p, err := w.progress(cfg)
	if err != nil {
		return true, err
	}
	w.print(p)
	if p.outcome != w.lasting {
		w.lasting, w.since = p.outcome, w.now()
	}
	if p.outcome != outcomeStalling && p.outcome != outcomeSettling {
		return verdict(p)
	}
	if left := w.options.patience - w.now().Sub(w.since); left > 0 {
		w.wakeAfter(left)
		return false, nil
	}
	return true, lasted(p)
}

// lasted judges what would have passed by now, had it been about to.
func lasted(p progress) error {
	if p.outcome == outcomeStalling {
		return errNotMade
	}
	return nil // the change is made; that some node is not ready is another matter
}

// once prints one line and judges it.
func (w *watcher) once(cfg *v1alpha1.NetworkConfig) error {
	p, err := w.progress(cfg)
	if err != nil {
		return err
	}
	w.print(p)
	switch p.outcome {
	case outcomeWaiting:
		return exitWith(ExitTimeout, "still under way")
	case outcomeStalling, outcomeSettling:
		return lasted(p)
	}
	_, err = verdict(p)
	return err
}

// progress is newProgress, narrowed to the revision that was asked for.
func (w *watcher) progress(cfg *v1alpha1.NetworkConfig) (progress, error) {
	p := newProgress(cfg, w.now())
	if w.options.revision == "" || cfg.Status.ObservedGeneration != cfg.Generation {
		return p, nil
	}
	target := cfg.Status.TargetRevision
	if r := cfg.Status.Rollout; r != nil && r.Target != "" {
		target = r.Target // also of a change that was taken back, or only tried
	}
	if !strings.HasPrefix(target, w.options.revision) {
		return p, exitWith(ExitFailed, "--revision %q: the spec asks for revision %s%s", w.options.revision,
			orNone(target), historyOf(cfg, w.options.revision))
	}
	return p, nil
}

// historyOf says what became of a revision.
func historyOf(cfg *v1alpha1.NetworkConfig, revision string) string {
	i := slices.IndexFunc(cfg.Status.History, func(r v1alpha1.RevisionRecord) bool { return strings.HasPrefix(r.Revision, revision) })
	if i < 0 {
		return "; there is no such revision in its history"
	}
	text := fmt.Sprintf("; %s was %s", cfg.Status.History[i].Revision, cfg.Status.History[i].Outcome)
	if m := cfg.Status.History[i].Message; m != "" {
		text += ": " + m
	}
	return text
}

// errNotMade follows a line that says why.
var errNotMade = &Error{Code: ExitFailed, Err: errors.New("the change has not come about")}

// verdict turns a progress that is over into an exit code.
func verdict(p progress) (over bool, err error) {
	switch p.outcome {
	case outcomeDone:
		return true, nil
	case outcomeFailed:
		return true, errNotMade
	case outcomePaused:
		return true, exitWith(ExitPaused, `the change is held: "kubectl hopsack rollout resume" lets it go on`)
	default:
		return false, nil
	}
}

// print writes what differs from what was written before. The sentence of a stall is written once, however far it has come since.
func (w *watcher) print(p progress) {
	if p.line != w.last {
		at, text := "", p.line
		if round(p.elapsed) > 0 {
			at = fmt.Sprintf("[%s] ", round(p.elapsed))
		}
		if p.cause != "" && p.cause == w.cause {
			text = p.brief
		}
		fmt.Fprintf(w.out, "%s%s\n", at, text)
		if p.cause != w.cause {
			w.shown = map[string]bool{}
		}
		w.last, w.cause = p.line, p.cause
	}
	for _, d := range p.details {
		if !w.shown[pairOf(d)] {
			fmt.Fprintf(w.out, "  %s\n", d)
			w.shown[pairOf(d)] = true
		}
	}
}

// pairOf is what a line of details is about: either node of a pair may tell that they cannot talk.
func pairOf(detail string) string {
	pair, _, _ := strings.Cut(detail, ": ")
	from, to, ok := strings.Cut(pair, " -> ")
	if ok && to < from {
		return to + " -> " + from
	}
	return pair
}

// wakeAfter has see called again, once for any number of calls.
func (w *watcher) wakeAfter(d time.Duration) {
	time.AfterFunc(d, func() {
		select {
		case w.wake <- time.Now():
		default:
		}
	})
}
