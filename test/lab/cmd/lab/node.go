package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

func nodeCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add, delete, power off and reboot nodes of a running lab, and say whether they are ready",
		Example: `  lab node add n4
  lab node reboot n1
  lab node notready n1
  lab node del n4`,
	}
	cmd.AddCommand(addCommand(o, "add", "  lab node add n4\n  lab node add n5 --routed      on a segment of its own behind the router"))
	cmd.AddCommand(
		nodeVerb(o, "del NODE...", "Delete nodes: agent, pods and namespaces at once, then the Node object", "  lab node del n4", "deleted", (*lab.Cluster).DelNode),
		nodeVerb(o, "reboot NODE...", "Power a node off and on: its disk stays, /run, pods and kernel state go", "  lab node reboot n1", "running", (*lab.Cluster).RebootNode),
		nodeVerb(o, "off NODE...", "Power a node off: everything on it ends at once, its disk and its Node object stay", "  lab node off n2", "off", (*lab.Cluster).PowerOff),
		nodeVerb(o, "on NODE...", "Boot a node that is off", "  lab node on n2", "running", (*lab.Cluster).PowerOn),
		readyCommand(o, true), readyCommand(o, false),
	)
	return cmd
}

// joinCommand is `node add` by the name that tests of rollouts know it by.
func joinCommand(o *options) *cobra.Command {
	return addCommand(o, "join", "  lab join n4\n  lab join n5 --routed          on a segment of its own behind the router")
}

func addCommand(o *options, verb, example string) *cobra.Command {
	var routed bool
	cmd := &cobra.Command{
		Use:     verb + " NODE",
		Short:   "Add a node: namespaces, Node object, agent",
		Example: example,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.AddNode(cmd.Context(), args[0], routed)
		},
	}
	cmd.Flags().BoolVar(&routed, "routed", false, "put the node on a segment of its own behind the router")
	return cmd
}

// readyCommand writes the condition Ready of Node objects.
func readyCommand(o *options, ready bool) *cobra.Command {
	verb, done := "notready", "not Ready"
	if ready {
		verb, done = "ready", "Ready"
	}
	var ago time.Duration
	cmd := &cobra.Command{
		Use:     verb + " NODE...",
		Short:   "Make Node objects " + done,
		Long:    "Write the condition Ready of Node objects. It stays: the lab's nodes have no kubelet. Nothing on the node changes.",
		Example: "  lab node " + verb + " n2\n  lab node " + verb + " n2 --for 2m      as if it had been so for two minutes",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := c.SetNodeReady(cmd.Context(), name, ready, time.Now().Add(-ago)); err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "node %s: %s\n", name, done)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&ago, "for", 0, "how long ago the condition changed")
	return cmd
}

func nodeVerb(o *options, use, short, example, done string, act func(*lab.Cluster, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := act(c, cmd.Context(), name); err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "node %s: %s\n", name, done)
			}
			return nil
		},
	}
}
