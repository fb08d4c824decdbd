package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

func nodeCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add, delete and reboot nodes of a running lab",
		Example: `  lab node add n4
  lab node reboot n1
  lab node del n4`,
	}
	var routed bool
	add := &cobra.Command{
		Use:   "add NODE",
		Short: "Add a node: namespaces, Node object, agent",
		Example: `  lab node add n4
  lab node add n5 --routed      on a segment of its own behind the router`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.AddNode(cmd.Context(), args[0], routed)
		},
	}
	add.Flags().BoolVar(&routed, "routed", false, "put the node on a segment of its own behind the router")
	cmd.AddCommand(add,
		nodeVerb(o, "del NODE...", "Delete nodes: agent, pods and namespaces at once, then the Node object", "  lab node del n4", "deleted", (*lab.Cluster).DelNode),
		nodeVerb(o, "reboot NODE...", "Power a node off and on: its disk stays, /run, pods and kernel state go", "  lab node reboot n1", "running", (*lab.Cluster).RebootNode),
	)
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
