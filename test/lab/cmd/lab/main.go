// Command lab runs a Kubernetes cluster in network namespaces on one machine; see package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

func main() {
	if handled, err := lab.RunHidden(os.Args[1:]); handled {
		os.Exit(exitCode(err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := exitCode(newCommand().ExecuteContext(ctx))
	stop()
	os.Exit(code)
}

// exitCode prints err and returns the code to exit with: that of the command that was run inside the lab, if there is one.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var inner *loss.CommandError
	var exit *exec.ExitError
	if errors.As(err, &inner) && errors.As(err, &exit) {
		// It has said itself what went wrong.
		return inner.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

// options are the flags that every command has.
type options struct {
	dir    string
	binDir string
}

func (o *options) open() (*lab.Cluster, error) { return o.openWith(os.Stderr) }

func (o *options) openWith(out io.Writer) (*lab.Cluster, error) {
	return lab.OpenConfig(lab.Config{Dir: o.dir, BinDir: o.binDir, Out: out})
}

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a Kubernetes cluster in network namespaces on this machine",
		Long: `lab runs a Kubernetes cluster in network namespaces on this machine: a real etcd and kube-apiserver, hopsack's
controller and one agent per node. Nodes are network namespaces hs-n1, hs-n2, ... with their own /run, /etc/cni,
/var/lib/cni and process IDs; pods are network namespaces that the node's CNI plugins connect. There is no kubelet, unless
you ask for it: "lab up --kubelet" makes nodes with a container runtime and kubelets.

Everything but the names of the namespaces is kept in the state directory. Nothing touches the machine's own network.
It needs root. Every command can be repeated.`,
		Example: `  lab up --config config/samples/networkconfig.yaml
  lab pod add a --node n1 && lab pod add b --node n2
  lab exec a -- ping -c 3 "$(lab pod ip b)"
  lab kubectl get networkconfig,subnetleases,nodenetworks
  lab cut n2 api && lab delay agent/n1 leases 5s && lab pause controller
  lab down`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// The lab's flags before `kubectl` are the lab's, those after it are kubectl's.
		TraverseChildren: true,
	}
	cmd.PersistentFlags().StringVar(&o.dir, "dir", "", "state directory (default $"+lab.DirEnv+", else .lab in the repository)")
	cmd.PersistentFlags().StringVar(&o.binDir, "bin-dir", "", "where the programs are (default bin in the repository)")
	cmd.AddCommand(
		upCommand(o), downCommand(o), statusCommand(o), loadCommand(o),
		podCommand(o), nodeCommand(o),
		execCommand(o), kubectlCommand(o),
		lossCommand(o),
		componentCommand(o, "start"), componentCommand(o, "stop"), componentCommand(o, "kill"),
		componentCommand(o, "pause"), componentCommand(o, "resume"),
		joinCommand(o), cutCommand(o), uncutCommand(o), delayCommand(o),
	)
	return cmd
}
