package main

import (
	"fmt"

	"github.com/spf13/cobra"

	nodeagent "github.com/hopsack-net/hopsack/node-agent"
)

// newStatusCommand prints what the node has, without the API server.
func newStatusCommand(o *options) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print what this node was told and what its kernel has, without the API server",
		Long: `Print the revisions that this node receives and the one it sends with, whether peers reach it, and for each peer whether
packets go to it directly or encapsulated and whether the kernel has the route.`,
		Example: `  hopsack-agent status
  hopsack-agent status -o json | jq '.peers[] | select(.path == "encapsulated") | .node'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "" && format != "json" {
				return fmt.Errorf("--output %q is not json", format)
			}
			local := o.local()
			status, err := nodeagent.Status(local)
			if err != nil {
				return err
			}
			if format == "json" {
				return nodeagent.PrintStatusJSON(status, cmd.OutOrStdout())
			}
			return nodeagent.PrintStatus(status, local.StateDir, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, or nothing for people")
	return cmd
}

// newCleanupCommand removes everything from the node.
func newCleanupCommand(o *options) *cobra.Command {
	var confirmed bool
	var binDir string
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove everything hopsack made on this node, without the API server",
		Long: `Remove the devices, routes, NAT rules, sysctls, files and CNI plugins that hopsack made or put on this node; what was there in
their place comes back. Pods on the node lose their network. Stop the agent first: one that runs makes everything again.`,
		Example: "  hopsack-agent cleanup --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !confirmed {
				return fmt.Errorf("cleanup takes the network from every pod on this node: say --yes if that is meant")
			}
			opts := o.local()
			opts.CNIBinDir = binDir
			changes, err := nodeagent.Cleanup(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if len(changes) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove")
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), "removed:", changes)
			return nil
		},
	}
	cmd.Flags().BoolVar(&confirmed, "yes", false, "do it")
	cmd.Flags().StringVar(&binDir, "cni-bin-dir", pluginDir, "directory of the CNI plugins; those that hopsack put there are removed")
	return cmd
}

// local are the options of what works without the API server.
func (o *options) local() nodeagent.Options {
	return nodeagent.Options{StateDir: o.stateDir, Paths: o.paths(), ProcSys: o.procSys, Log: o.log()}
}
