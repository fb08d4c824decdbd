package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/version"
	nodeagent "github.com/hopsack-net/hopsack/node-agent"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// conflistName sorts before what other networks leave behind.
const conflistName = "05-hopsack.conflist"

// options are the command's flags.
type options struct {
	nodeName       string
	kubeconfig     string
	runDir         string
	stateDir       string
	cniConfDir     string
	cniBinDir      string
	cniSource      string
	subnetFile     string
	metricsAddress string
	healthAddress  string
	bootIDFile     string
	procSys        string
	verbosity      int
}

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "hopsack-agent",
		Short: "Turn the node's NodeNetwork and its peers' leases into kernel state",
		Long: `hopsack-agent runs on every node, as root in the host's network namespace. It keeps devices, routes, FDB and ARP entries,
NAT rules and the CNI configuration as the cluster's NetworkConfig has them. Stopping it leaves the data path as it is.`,
		Version:       version.Line(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			agentOptions, err := o.agent()
			if err != nil {
				return err
			}
			klog.SetLogger(agentOptions.Log)
			ctrllog.SetLogger(agentOptions.Log)
			agent, err := nodeagent.New(agentOptions)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), agent)
		},
	}
	all := cmd.PersistentFlags()
	all.StringVar(&o.runDir, "run-dir", filepath.Dir(handoff.DefaultPath), "directory of the hand-off file to the CNI plugin; must not survive a reboot")
	all.StringVar(&o.stateDir, "state-dir", "/var/lib/hopsack", "directory of what must survive a reboot")
	all.StringVar(&o.cniConfDir, "cni-conf-dir", "/etc/cni/net.d", "directory of the CNI configuration")
	all.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "file with the FLANNEL_ variables")
	all.IntVarP(&o.verbosity, "verbosity", "v", 0, "0 logs what changed, 1 how")
	all.StringVar(&o.procSys, "proc-sys", "/proc/sys", "where the host's sysctls can be written")
	flags := cmd.Flags()
	flags.StringVar(&o.nodeName, "node-name", os.Getenv("NODE_NAME"), "name of this Node (environment NODE_NAME)")
	flags.StringVar(&o.cniBinDir, "cni-bin-dir", "", "directory of the CNI plugins, to install them and to remove them with the network; empty leaves them to others")
	flags.StringVar(&o.cniSource, "cni-source", pluginSource, "directory of the CNI plugins to install, and of nothing else")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty uses the pod's service account")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":10472", "address of /metrics; 0 switches it off")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", "127.0.0.1:10473", "address of /healthz and /readyz; 0 switches it off")
	flags.StringVar(&o.bootIDFile, "boot-id-file", nodeagent.DefaultBootIDFile, "file that tells one boot of the node from another")
	cmd.AddCommand(newStatusCommand(o), newCleanupCommand(o), newDockerOptsCommand(o), newInstallCNICommand())
	return cmd
}

// agent turns the flags into the agent's options.
func (o *options) agent() (nodeagent.Options, error) {
	if o.nodeName == "" {
		return nodeagent.Options{}, fmt.Errorf("--node-name is empty, and so is the environment variable NODE_NAME")
	}
	config, err := o.restConfig()
	if err != nil {
		return nodeagent.Options{}, err
	}
	return nodeagent.Options{
		NodeName: o.nodeName, Config: config, StateDir: o.stateDir, Paths: o.paths(),
		MetricsAddress: o.metricsAddress, HealthAddress: o.healthAddress, BootIDFile: o.bootIDFile, ProcSys: o.procSys, Log: o.log(),
		CNIBinDir: o.cniBinDir, CNISource: o.cniSource,
	}, nil
}

func (o *options) restConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read --kubeconfig %q: %w", o.kubeconfig, err)
	}
	config.UserAgent = "hopsack-agent"
	return config, nil
}

func (o *options) paths() desired.Paths {
	return desired.Paths{
		Handoff:   filepath.Join(o.runDir, filepath.Base(handoff.DefaultPath)),
		Conflist:  filepath.Join(o.cniConfDir, conflistName),
		SubnetEnv: o.subnetFile,
	}
}

func (o *options) log() logr.Logger {
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-o.verbosity)})
	return logr.FromSlogHandler(handler)
}
