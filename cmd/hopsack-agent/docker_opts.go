package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/node-agent/dockeropts"
)

// newDockerOptsCommand prints options for a Docker daemon on the node's subnet.
func newDockerOptsCommand(o *options) *cobra.Command {
	var output string
	var combined, individual bool
	opts := dockeropts.Options{}
	cmd := &cobra.Command{
		Use:   "docker-opts",
		Short: "Print Docker daemon options from subnet.env",
		Long: `Print DOCKER_OPT_BIP, DOCKER_OPT_IPMASQ, DOCKER_OPT_MTU and DOCKER_OPTS for an environment file of the Docker daemon, so
that its containers share the node's subnet.`,
		Example: `  hopsack-agent docker-opts                                   # print all
  hopsack-agent docker-opts --combined-only --key OPTS        # one variable of that name
  hopsack-agent docker-opts --output /run/docker_opts.env     # write a file for a unit's EnvironmentFile=`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case combined:
				opts.Format = dockeropts.Combined
			case individual:
				opts.Format = dockeropts.Individual
			}
			file, err := os.Open(o.subnetFile)
			if err != nil {
				return fmt.Errorf("%w: the node has no network yet, or --subnet-file names another file", err)
			}
			defer file.Close()
			text, err := dockeropts.Render(file, opts)
			if err != nil {
				return fmt.Errorf("%s: %w", o.subnetFile, err)
			}
			if output == "" {
				_, err := fmt.Fprint(cmd.OutOrStdout(), text)
				return err
			}
			return os.WriteFile(output, []byte(text), 0o644)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "", "write to this file instead of standard output")
	flags.BoolVar(&combined, "combined-only", false, "write the combined variable only")
	flags.BoolVar(&individual, "individual-only", false, "write one variable per option only")
	flags.StringVar(&opts.Key, "key", dockeropts.DefaultKey, "name of the combined variable")
	flags.BoolVar(&opts.IPMasq, "ip-masq", true, "include Docker's masquerade option")
	cmd.MarkFlagsMutuallyExclusive("combined-only", "individual-only")
	return cmd
}
