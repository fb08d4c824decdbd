package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

func execCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE|POD -- CMD...",
		Short: "Run a command in a node or a pod",
		Long: `Run a command in the network of a node or a pod, with the node's files and process IDs. Further places: client (a machine
outside the cluster on the first segment), router, switch, cp (the control plane). The exit code is the command's.`,
		Example: `  lab exec n1 -- ip route
  lab exec a -- ping -c 3 10.244.2.3
  lab exec client -- curl -s http://172.30.0.11:8080/
  lab exec n1                                  a shell`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			argv := args[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				argv = []string{"sh"}
			}
			inner := exec.Command(argv[0], argv[1:]...)
			attach(inner)
			return foreground(inner, func() error { return c.StartIn(args[0], inner) })
		},
	}
	// What follows the target belongs to the command, flags included.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func kubectlCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl ARGS...",
		Short: "Run kubectl as the lab's administrator",
		Long: `Run the lab's kubectl as administrator, in the network of the control plane and with the caller's files. Every argument
is kubectl's.`,
		Example: `  lab kubectl get nodes -o wide
  lab kubectl apply -f config/samples/networkconfig.yaml
  lab kubectl get networkconfig,subnetleases,nodenetworks`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && slices.Contains([]string{"-h", "--help"}, args[0]) {
				return cmd.Help()
			}
			c, err := o.open()
			if err != nil {
				return err
			}
			inner, err := c.KubectlCommand(cmd.Context(), args...)
			if err != nil {
				return err
			}
			attach(inner)
			return foreground(inner, func() error { return c.StartKubectl(inner) })
		},
	}
}

func attach(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
}

// foreground runs a command that shares the terminal: interrupts are its business, not the lab's, and so is how it ends.
func foreground(cmd *exec.Cmd, start func() error) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	defer lendTerminal(cmd)()
	if err := start(); err != nil {
		return err
	}
	go func() {
		for sig := range signals {
			// The terminal sends interrupts to the command itself; a SIGTERM comes to this process only.
			if sig == syscall.SIGTERM {
				_ = cmd.Process.Signal(sig)
			}
		}
	}()
	if err := cmd.Wait(); err != nil {
		return &loss.CommandError{Err: err}
	}
	return nil
}

// lendTerminal makes cmd the foreground process group of the terminal, if this process is it now, and returns a function
// that takes the terminal back. A shell cannot stay in the group of a process that its PID namespace does not show.
func lendTerminal(cmd *exec.Cmd) (takeBack func()) {
	owner, err := unix.IoctlGetInt(unix.Stdin, unix.TIOCGPGRP)
	if err != nil || owner != unix.Getpgrp() {
		return func() {}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: unix.Stdin}
	return func() {
		// Taking it back is a background process's write, which would stop this process.
		signal.Ignore(syscall.SIGTTOU)
		defer signal.Reset(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(unix.Stdin, unix.TIOCSPGRP, owner)
	}
}

func componentCommand(o *options, verb string) *cobra.Command {
	texts := map[string]string{
		"start":  "Start a component again and wait until it is healthy",
		"stop":   "Stop a component gracefully and wait until it has ended (apiserver: a minute)",
		"kill":   "Kill a component",
		"pause":  "Stop a component where it is (SIGSTOP): it keeps its connections and answers nothing",
		"resume": "Let a component that was paused go on",
	}
	return &cobra.Command{
		Use:   verb + " agent/NODE | controller | apiserver | etcd ...",
		Short: texts[verb],
		Example: fmt.Sprintf(`  lab %[1]s agent/n1
  lab %[1]s apiserver etcd`, verb),
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			act := map[string]func(*lab.Cluster, string) error{
				"start":  func(c *lab.Cluster, name string) error { return c.Start(cmd.Context(), name) },
				"stop":   func(c *lab.Cluster, name string) error { return c.Stop(cmd.Context(), name) },
				"kill":   func(c *lab.Cluster, name string) error { return c.Kill(cmd.Context(), name) },
				"pause":  func(c *lab.Cluster, name string) error { return c.Pause(cmd.Context(), name) },
				"resume": func(c *lab.Cluster, name string) error { return c.Resume(cmd.Context(), name) },
			}[verb]
			// An API server without its etcd neither starts nor ends well.
			slices.SortStableFunc(args, func(a, b string) int {
				order := map[string]int{"apiserver": 1, "etcd": 2}
				if verb == "start" || verb == "resume" {
					order = map[string]int{"etcd": -2, "apiserver": -1}
				}
				return order[a] - order[b]
			})
			for _, name := range args {
				if err := act(c, name); err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "%s: %s\n", name, map[string]string{
					"start": "running", "stop": "stopped", "kill": "killed", "pause": "paused", "resume": "running",
				}[verb])
			}
			return nil
		},
	}
}
