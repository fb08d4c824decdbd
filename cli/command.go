package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/hopsack-net/hopsack/internal/version"
)

// Exit codes of every command. They are part of the interface.
const (
	// ExitOK: what was asked for is so.
	ExitOK = 0
	// ExitError: the command was misused, or the API server refused or did not answer.
	ExitError = 1
	// ExitFailed: the change is stalled or failed, or a check found a path that does not work.
	ExitFailed = 2
	// ExitTimeout: it was not over within the time given.
	ExitTimeout = 3
	// ExitPaused: the change is held by the annotation net.hopsack.dev/paused.
	ExitPaused = 4
)

// Error is an error with an exit code of its own.
type Error struct {
	// Code is one of the Exit constants.
	Code int
	// Err is what to say.
	Err error
}

// Error is the message of Err.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func exitWith(code int, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Code is the exit code that an error of a command stands for; ExitOK for nil.
func Code(err error) int {
	var own *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &own):
		return own.Code
	default:
		return ExitError
	}
}

// NewCommand returns `kubectl hopsack`. Its errors carry exit codes, see Code; it prints none of them itself.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	s := &session{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "kubectl-hopsack",
		Short: "See, change and check the pod network that hopsack runs",
		Long: `See, change and check the pod network that hopsack runs.

To change the network, edit the NetworkConfig ("kubectl edit networkconfig default", or in git). The commands here show what
comes of it.

Exit codes: 0 done or well, 1 error, 2 stalled, failed or a path does not work, 3 timed out, 4 paused.`,
		Example: `  # How the network and its nodes are
  kubectl hopsack status

  # Change something and wait for it, in a pipeline
  kubectl apply -f networkconfig.yaml && kubectl hopsack rollout status --timeout 10m

  # Can every node reach every other one, with pods' addresses?
  kubectl hopsack check`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl hopsack"},
		Version:       version.Line(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	s.flags.AddFlags(root.PersistentFlags())
	// kubectl's own flags would push everything else off the screen in the help of every command.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}",
		`  kubectl's, such as --context and --kubeconfig: "kubectl options" lists them`))
	root.AddCommand(newStatusCommand(s), newRolloutCommand(s), newCheckCommand(s), newTraceCommand(s), newConvertCommand(s),
		newUninstallCommand(s))
	return root
}

// Run executes the command line args and returns the exit code; what went wrong is on ErrOut.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	root := NewCommand(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(streams.ErrOut, "error:", err)
	}
	return Code(err)
}
