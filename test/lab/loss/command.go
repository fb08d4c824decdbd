package loss

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Client is the target name of the client outside the cluster, which NodePorts are probed from by default.
const Client = "client"

const help = `Run CMD and count what the pod network loses meanwhile.

FROM and TO are each a pod, a node or "client" (outside the cluster). Packets go both ways: one UDP stream with a fixed
5-tuple and one with a new source port for every packet, each --rate packets per second. A node is probed at its stable
address, the bridge's gateway address, so that both directions cross the pod network.

TO may be nodeport:NODE:POD: NODE then gets the rules kube-proxy would make for a NodePort of POD, and FROM (default:
client) sends requests that POD answers. The rules are removed afterwards.

Prints one line of JSON on stdout: sent, lost, wrongSource, broken, longestGapMs, tcpStallMs, jitterMs, and the same for
each stream under "streams". A gap not longer than jitterMs is this machine's, not the network's; so may be as many lost
packets as machineDropped says its kernel dropped, of anybody's, for want of room. CMD's output goes to stderr, and its
exit status is lab's.`

const example = `  lab loss n1p n2p -- sh -c 'lab kill agent/n1; sleep 5'
  lab loss n1 n2p --tcp --size max -- sleep 10
  lab loss nodeport:n1:n2p --tcp -- sleep 10`

// NewCommand returns the command "loss". resolve finds a pod, a node or Client by name; a node's Endpoint carries its
// Underlay address too. A failing CMD is returned as *CommandError, whose ExitCode the caller should exit with.
func NewCommand(resolve func(target string) (Endpoint, error)) *cobra.Command {
	var o Options
	var size string
	cmd := &cobra.Command{
		Use:     "loss FROM TO [flags] -- CMD...",
		Short:   "Run a command and count the packets lost meanwhile",
		Long:    help,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 || dash == len(args) {
				return errors.New(`no command: put it after "--"`)
			}
			var err error
			if o.Size, err = ParseSize(size); err != nil {
				return err
			}
			if o.Rate == 0 { // Options would take it for the default
				return errRate(0)
			}
			if err := setTargets(&o, args[:dash], resolve); err != nil {
				return err
			}
			cmd.SilenceUsage = true
			o.During = func(ctx context.Context) error { return runCommand(ctx, args[dash:]) }
			return report(cmd, o)
		},
	}
	cmd.Flags().IntVar(&o.Rate, "rate", DefaultRate, "packets per second of each UDP stream")
	cmd.Flags().StringVar(&size, "size", fmt.Sprint(DefaultSize),
		"bytes of UDP payload, or max: fill the route's MTU, with DF set")
	cmd.Flags().BoolVar(&o.TCP, "tcp", false, "also a paced TCP connection and new TCP connections")
	return cmd
}

// report measures and prints. An interrupt ends the command; what was measured until then is printed.
func report(cmd *cobra.Command, o Options) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	res, err := Run(ctx, o)
	var inner *CommandError
	if errors.As(err, &inner) && err.Error() != inner.Error() {
		// Whoever exits with the command's status has no place for the probe's own complaint.
		fmt.Fprintln(cmd.ErrOrStderr(), "loss:", err)
	}
	if res.Streams == nil {
		return err
	}
	return errors.Join(err, res.WriteJSON(cmd.OutOrStdout()))
}

// setTargets resolves the arguments before "--": FROM and TO, or a NodePort alone.
func setTargets(o *Options, args []string, resolve func(string) (Endpoint, error)) error {
	if len(args) == 1 && strings.HasPrefix(args[0], "nodeport:") {
		args = []string{Client, args[0]}
	}
	if len(args) != 2 {
		return errors.New("want FROM and TO")
	}
	from, to := args[0], args[1]
	if strings.HasPrefix(from, "nodeport:") {
		from, to = to, from // only the client can start; both ways are probed anyhow
	}
	var err error
	if o.From, err = resolve(from); err != nil {
		return fmt.Errorf("find %s: %w", from, err)
	}
	if node, pod, ok, err := parseNodePort(to); err != nil {
		return err
	} else if ok {
		o.NodePort = &NodePort{}
		if o.NodePort.Node, err = resolve(node); err != nil {
			return fmt.Errorf("find %s: %w", node, err)
		}
		to = pod
	}
	if o.To, err = resolve(to); err != nil {
		return fmt.Errorf("find %s: %w", to, err)
	}
	return nil
}

// parseNodePort takes nodeport:NODE:POD apart; ok is false for another kind of target.
func parseNodePort(target string) (node, pod string, ok bool, err error) {
	rest, ok := strings.CutPrefix(target, "nodeport:")
	if !ok {
		return "", "", false, nil
	}
	node, pod, ok = strings.Cut(rest, ":")
	if !ok || node == "" || pod == "" || strings.Contains(pod, ":") {
		return "", "", false, fmt.Errorf("target %q: want nodeport:NODE:POD", target)
	}
	return node, pod, true, nil
}

// runCommand runs args with its output on stderr. When ctx ends it gets SIGTERM and, later, SIGKILL.
func runCommand(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	return nil
}
