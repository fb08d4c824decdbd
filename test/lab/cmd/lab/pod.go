package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

func podCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Add, delete and list pods",
		Long:  `A pod is a network namespace that the node's CNI plugins connect, through the first configuration in its /etc/cni/net.d.`,
		Example: `  lab pod add a --node n1
  lab pod list
  lab pod del a`,
	}
	cmd.AddCommand(podAddCommand(o), podDelCommand(o), podListCommand(o), podIPCommand(o), podCheckCommand(o))
	return cmd
}

func podAddCommand(o *options) *cobra.Command {
	var spec lab.PodSpec
	var ports []string
	cmd := &cobra.Command{
		Use:   "add NAME --node NODE",
		Short: "Add a pod to a node (CNI ADD)",
		Long: `Make a network namespace on a node and call the CNI plugins as a container runtime does. While the node has no network
the command tries again for --wait, as a kubelet would. It prints the pod's address.`,
		Example: `  lab pod add a --node n1
  lab pod add web --node n2 --host-port 8080:80 --host-port 5353:53/udp`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			spec.Name = args[0]
			for _, text := range ports {
				mapping, err := parsePort(text)
				if err != nil {
					return err
				}
				spec.HostPorts = append(spec.HostPorts, mapping)
			}
			pod, err := c.AddPod(cmd.Context(), spec)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), join(pod.IPs))
			return nil
		},
	}
	cmd.Flags().StringVar(&spec.Node, "node", "", "node the pod runs on (required)")
	cmd.Flags().StringVar(&spec.Namespace, "namespace", "default", "Kubernetes namespace told to the plugins")
	cmd.Flags().StringArrayVar(&ports, "host-port", nil, "publish HOST:CONTAINER[/tcp|udp] on the node (repeatable)")
	cmd.Flags().DurationVar(&spec.Wait, "wait", 20*time.Second, "how long to try again while the node has no network")
	_ = cmd.MarkFlagRequired("node")
	return cmd
}

// parsePort reads HOST:CONTAINER[/PROTOCOL].
func parsePort(text string) (lab.PortMapping, error) {
	bad := fmt.Errorf("host port %q: want HOST:CONTAINER or HOST:CONTAINER/udp", text)
	numbers, protocol, found := strings.Cut(text, "/")
	if !found {
		protocol = "tcp"
	}
	host, container, ok := strings.Cut(numbers, ":")
	if !ok || (protocol != "tcp" && protocol != "udp") {
		return lab.PortMapping{}, bad
	}
	m := lab.PortMapping{Protocol: protocol}
	for _, part := range []struct {
		text string
		port *int
	}{{host, &m.HostPort}, {container, &m.ContainerPort}} {
		port, err := strconv.ParseUint(part.text, 10, 16)
		if err != nil || port == 0 {
			return lab.PortMapping{}, bad
		}
		*part.port = int(port)
	}
	return m, nil
}

func podDelCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "del NAME...",
		Short:   "Delete pods (CNI DEL)",
		Example: `  lab pod del a b`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := c.DelPod(cmd.Context(), name); err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "pod %s: deleted\n", name)
			}
			return nil
		},
	}
}

func podListCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List pods",
		Example: `  lab pod list
  ip netns exec hs-pod-a ip addr     the NETNS column is for ip netns`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			pods, err := c.Pods()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			writePods(w, pods)
			return w.Flush()
		},
	}
}

func podIPCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "ip NAME",
		Short:   "Print a pod's address",
		Example: `  lab exec a -- ping -c 1 "$(lab pod ip b)"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			addr, err := c.PodIP(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), addr)
			return nil
		},
	}
}

func podCheckCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "check NAME",
		Short:   "Ask the plugins whether a pod's network is as they made it (CNI CHECK)",
		Example: `  lab pod check a`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.CheckPod(cmd.Context(), args[0])
		},
	}
}
