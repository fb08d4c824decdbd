package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/internal/cniinstall"
)

// pluginSource is where the image has the plugins, pluginDir where container runtimes look for them unless told otherwise.
const (
	pluginSource = "/usr/lib/hopsack/cni"
	pluginDir    = "/opt/cni/bin"
)

// newInstallCNICommand puts the plugins onto the node.
func newInstallCNICommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "install-cni",
		Short: "Put the CNI plugins where the container runtime looks, without disturbing it",
		Long: `Copy hopsack's CNI plugin and the reference plugins that it calls. Each is written beside its place and renamed, so a pod
that starts meanwhile gets its network from the old plugins or from the new ones. What was there under their names is kept, and
put back by "hopsack-agent cleanup". The agent's DaemonSet does this before the agent starts; it may be done again at any time.`,
		Example: "  hopsack-agent install-cni --from /usr/lib/hopsack/cni --to /opt/cni/bin",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			installed, err := cniinstall.Install(from, to)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), cniinstall.Describe(installed))
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", pluginSource, "directory of the plugins to install, and of nothing else")
	cmd.Flags().StringVar(&to, "to", pluginDir, "directory in which the container runtime looks for plugins")
	return cmd
}
