package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

func upCommand(o *options) *cobra.Command {
	var up lab.Options
	var kubelet kubeletFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the lab, or what is missing of it",
		Long: `Start the lab: underlay, control plane, nodes, hopsack's controller and agents. It returns once the API answers, the
project's manifests are applied and all processes are healthy. Without --config no network is configured; with it, the file
is applied and the command waits until the network works on every node.

With --kubelet the nodes are real ones: containerd, kubelet and kube-proxy run on each, pods are containers (use lab kubectl),
CoreDNS is deployed, and hopsack is yours to install from its manifests: until then nodes are NotReady and pods wait.

On a lab that is up it repairs what does not run.`,
		Example: `  lab up                                              three nodes, the last one behind a router
  lab up --nodes 5 --routed 2                         n4 and n5 each behind the router
  lab up --config config/samples/networkconfig.yaml   with a pod network
  lab up --agent-arg=-v=1                             agents that log more
  lab up --kubelet --image dist/images/hopsack.tar    real nodes that know an image`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := time.Now()
			if err := kubelet.apply(cmd, &up); err != nil {
				return err
			}
			c, err := o.openWith(&stopwatch{start: start, out: os.Stderr})
			if err != nil {
				return err
			}
			if err := c.Up(cmd.Context(), up); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%5.1f s  up; kubeconfig: %s\n", time.Since(start).Seconds(), c.KubeconfigPath())
			return nil
		},
	}
	kubelet.register(cmd)
	cmd.Flags().IntVar(&up.Nodes, "nodes", 0, "number of nodes (default 3, or what the lab has)")
	cmd.Flags().IntVar(&up.Routed, "routed", -1, "how many of the nodes, the last ones, are behind the router (default 1, or what the lab has)")
	cmd.Flags().StringVar(&up.ConfigFile, "config", "", "NetworkConfig to apply once everything runs")
	cmd.Flags().DurationVar(&up.ConfigTimeout, "config-timeout", time.Minute, "how long to wait for the network with --config")
	cmd.Flags().StringArrayVar(&up.AgentArgs, "agent-arg", nil, "argument added to every agent's command line (repeatable)")
	cmd.Flags().StringArrayVar(&up.ControllerArgs, "controller-arg", nil, "argument added to the controller's command line (repeatable)")
	return cmd
}

// stopwatch puts the time since start before everything written, which is one line each time.
type stopwatch struct {
	start time.Time
	out   io.Writer
}

// Write writes p behind the time.
func (w *stopwatch) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(w.out, "%5.1f s  %s", time.Since(w.start).Seconds(), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the lab and remove everything it made",
		Long: `End every process of the lab and remove its namespaces and state. Logs stay in the state directory. It works on half a
lab, after a crash, and when nothing is up.`,
		Example: `  lab down
  lab down --dir /tmp/other-lab`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.Down(cmd.Context())
		},
	}
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show what runs",
		Example: `  lab status`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), c, st)
		},
	}
}

func printStatus(out io.Writer, c *lab.Cluster, st lab.Status) error {
	if !st.Up {
		fmt.Fprintf(out, "No lab is up in %s.\n", c.Dir())
		if st.Owner != "" && st.Owner != c.Dir() {
			fmt.Fprintf(out, "The lab of this machine has its state in %s.\n", st.Owner)
		}
		return nil
	}
	fmt.Fprintf(out, "state: %s   kubeconfig: %s\n\n", c.Dir(), c.KubeconfigPath())
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tSTATE\tPID\tAGE")
	for _, comp := range st.Components {
		if comp.PID == 0 {
			fmt.Fprintf(w, "%s\tstopped\t-\t-\n", comp.Name)
			continue
		}
		state := "running"
		if comp.Paused {
			state = "paused"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", comp.Name, state, comp.PID, time.Since(comp.Started).Round(time.Second))
	}
	fmt.Fprintln(w, "\nNODE\tSTATE\tADDRESS\tSEGMENT\tNETWORK\tNETNS\tFAULTS")
	for _, n := range st.Nodes {
		state, segment := "running", "shared"
		if !n.Running {
			state = "off"
		}
		if n.Node.Routed {
			segment = "behind router"
		}
		faults := "-"
		if len(n.Faults) > 0 {
			faults = strings.Join(n.Faults, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\ths-%s\t%s\n", n.Node.Name, state, join(n.Addrs), segment, n.Network, n.Node.Name, faults)
	}
	if len(st.Pods) > 0 {
		fmt.Fprintln(w)
		writePods(w, st.Pods)
	}
	return w.Flush()
}

func writePods(w io.Writer, pods []lab.Pod) {
	fmt.Fprintln(w, "NAME\tNODE\tIP\tNETNS\tHOST-PORTS")
	for _, pod := range pods {
		ports := "-"
		for i, m := range pod.HostPorts {
			text := strconv.Itoa(m.HostPort) + ":" + strconv.Itoa(m.ContainerPort) + "/" + m.Protocol
			if i == 0 {
				ports = text
			} else {
				ports += "," + text
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", pod.Name, pod.Node, join(pod.IPs), pod.NetNSName(), ports)
	}
}

func join(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "-"
	}
	var parts []string
	for _, addr := range addrs {
		parts = append(parts, addr.String())
	}
	return strings.Join(parts, ",")
}
