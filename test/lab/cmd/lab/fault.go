package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

func cutCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "cut NODE api | peers | all",
		Short: "Cut a node off from the API server, from everything else, or from everything",
		Long: `Have the switch drop a node's frames, silently and in both directions: api is the control plane only, peers is every address
but the control plane's. Cuts of a node add up, survive its reboot, and end with "lab uncut".`,
		Example: `  lab cut n2 api
  lab cut n2 all`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			if err := c.Cut(cmd.Context(), args[0], lab.Cut(args[1])); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "node %s: cut from %s\n", args[0], args[1])
			return nil
		},
	}
}

func uncutCommand(o *options) *cobra.Command {
	return nodeVerb(o, "uncut NODE...", "Mend every cut of nodes", "  lab uncut n2", "connected", (*lab.Cluster).Uncut)
}

func delayCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "delay agent/NODE leases | nodenetworks DURATION",
		Short: "Have what an agent's watch delivers arrive late",
		Long: `Have everything that an agent's watch of SubnetLeases or of its NodeNetwork delivers arrive so much later; 0 ends it. Other
requests are not delayed. The first delay of an agent restarts it: from then on it speaks to the API server through a proxy on
its node.`,
		Example: `  lab delay agent/n2 leases 5s
  lab delay agent/n2 leases 0`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[2])
			if err != nil {
				return fmt.Errorf("delay %q: want a duration such as 5s, or 0", args[2])
			}
			c, err := o.open()
			if err != nil {
				return err
			}
			if err := c.Delay(cmd.Context(), args[0], args[1], d); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %s %s late\n", args[0], args[1], d)
			return nil
		},
	}
}
