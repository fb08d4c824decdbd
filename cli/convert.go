package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli/flannel"
)

type convertOptions struct {
	file        string
	fromCluster bool
	backend     string
}

// flannelConfigMap is the ConfigMap that flannel's manifests make, in the namespaces they have used.
const flannelConfigMap = "kube-flannel-cfg"

func newConvertCommand(s *session) *cobra.Command {
	o := &convertOptions{}
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Turn flannel's configuration into a NetworkConfig",
		Long: `Turn flannel's configuration into a NetworkConfig, printed as YAML. Nothing in the cluster is changed.

The input may be net-conf.json, the value of flannel's etcd key (quoted, escaped, or as etcdctl prints it), the ConfigMap
kube-flannel-cfg as YAML or JSON, or a manifest with it (kube-flannel.yml), whose flags of flanneld are then taken into account.
Keys may be in any case, as flannel reads them. Every key that is not carried over is named, as a comment in the YAML and on
standard error.

A backend that hopsack does not have (wireguard, ipsec, ipip, extension, the clouds') is an error; --backend chooses another.`,
		Example: `  kubectl hopsack convert --from-cluster > networkconfig.yaml
  kubectl hopsack convert -f kube-flannel.yml
  etcdctl get /coreos.com/network/config | kubectl hopsack convert
  kubectl hopsack convert -f net-conf.json --backend vxlan`,
		Args:              fileNeedsFlag,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "filename", "f", "-", "The file to read; - is standard input")
	f.BoolVar(&o.fromCluster, "from-cluster", false, "Read the ConfigMap "+flannelConfigMap+" from the cluster (namespace kube-flannel or kube-system, or --namespace)")
	f.StringVar(&o.backend, "backend", "", "Use this backend in place of flannel's: vxlan, host-gw, udp or alloc")
	_ = cmd.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions(backends(), cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("filename", "from-cluster")
	out := addOutput(cmd, "yaml", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := out.check(); err != nil {
			return err
		}
		if o.backend != "" && !slices.Contains(backends(), o.backend) {
			return fmt.Errorf("--backend: %q is not one of vxlan, host-gw, udp, alloc", o.backend)
		}
		return s.convert(cmd.Context(), *o, out)
	}
	return cmd
}

// fileNeedsFlag refuses arguments, and says where the file belongs that the first one most likely is.
func fileNeedsFlag(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("convert takes no arguments; a file is named with -f: kubectl hopsack convert -f %s", args[0])
}

func backends() []string {
	return []string{string(v1alpha1.BackendVXLAN), string(v1alpha1.BackendHostGW), string(v1alpha1.BackendUDP), string(v1alpha1.BackendAlloc)}
}

func (s *session) convert(ctx context.Context, o convertOptions, out *output) error {
	data, err := s.convertInput(ctx, o)
	if err != nil {
		return err
	}
	result, err := flannel.Convert(data, flannel.Options{Backend: v1alpha1.BackendType(o.backend)})
	if err != nil {
		return err
	}
	for _, line := range result.Remarks() {
		fmt.Fprintln(s.ErrOut, line)
	}
	if out.format == "json" {
		_, err := out.structured(s.Out, result.Object())
		return err
	}
	text, err := result.YAML()
	if err != nil {
		return err
	}
	_, err = s.Out.Write(text)
	return err
}

func (s *session) convertInput(ctx context.Context, o convertOptions) ([]byte, error) {
	switch {
	case o.fromCluster:
		return s.configMap(ctx)
	case o.file == "-":
		return io.ReadAll(s.In)
	default:
		return os.ReadFile(o.file)
	}
}

// configMap reads flannel's ConfigMap.
func (s *session) configMap(ctx context.Context) ([]byte, error) {
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	namespaces := []string{"kube-flannel", "kube-system"}
	if s.flags.Namespace != nil && *s.flags.Namespace != "" {
		namespaces = []string{*s.flags.Namespace}
	}
	var missing error
	for _, namespace := range namespaces {
		var m corev1.ConfigMap
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: flannelConfigMap}, &m)
		if apierrors.IsNotFound(err) {
			missing = errors.Join(missing, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read configmap %s/%s: %w", namespace, flannelConfigMap, err)
		}
		return yaml.Marshal(map[string]any{
			"kind": "ConfigMap", "metadata": map[string]string{"name": m.Name, "namespace": namespace}, "data": m.Data,
		})
	}
	return nil, fmt.Errorf("find flannel's ConfigMap in %v: %w", namespaces, missing)
}
