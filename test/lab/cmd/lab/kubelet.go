package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
)

// kubeletFlags are the flags of `up` that make a lab with real nodes.
type kubeletFlags struct {
	on          bool
	clusterCIDR string
	options     lab.KubeletOptions
}

func (f *kubeletFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.on, "kubelet", false, "real nodes: containerd, kubelet and kube-proxy on each, and nothing of hopsack until you install it")
	flags.StringVar(&f.options.ProxyMode, "kube-proxy", "", "nftables, iptables or none (with --kubelet; default nftables)")
	flags.StringVar(&f.clusterCIDR, "cluster-cidr", "", "the pods' range, for kube-proxy and the control plane (with --kubelet; default 10.244.0.0/16)")
	flags.BoolVar(&f.options.AllocateNodeCIDRs, "allocate-node-cidrs", false, "have kube-controller-manager give every Node a podCIDR (with --kubelet)")
	flags.StringArrayVar(&f.options.Images, "image", nil, "OCI archive to import on every node (with --kubelet; repeatable)")
}

// apply puts what was given into up. Flags that need --kubelet are refused without it.
func (f *kubeletFlags) apply(cmd *cobra.Command, up *lab.Options) error {
	if !f.on {
		for _, name := range []string{"kube-proxy", "cluster-cidr", "allocate-node-cidrs", "image"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s needs --kubelet", name)
			}
		}
		return nil
	}
	for _, name := range []string{"config", "agent-arg", "controller-arg"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s: with --kubelet the lab starts nothing of hopsack; install it with `lab kubectl`", name)
		}
	}
	if f.clusterCIDR != "" {
		prefix, err := netip.ParsePrefix(f.clusterCIDR)
		if err != nil {
			return fmt.Errorf("--cluster-cidr: %w", err)
		}
		f.options.ClusterCIDR = prefix
	}
	up.Kubelet = &f.options
	return nil
}

func loadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "load ARCHIVE...",
		Short: "Import container images on every node of a lab with kubelets",
		Long: `Import OCI archives (as make image, skopeo or docker save write them) on every node that runs. Kubelets find the images by
their names: there is no registry, so a pod's imagePullPolicy must not be Always.`,
		Example: `  lab load dist/images/hopsack-linux-amd64.tar`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			for _, archive := range args {
				if err := c.Load(cmd.Context(), archive); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
