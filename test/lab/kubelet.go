package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// The modes of kube-proxy that a lab with kubelets may have.
const (
	ProxyNFTables = "nftables"
	ProxyIPTables = "iptables"
	// ProxyNone is a cluster whose Services are somebody else's.
	ProxyNone = "none"
)

// KubeletOptions make the lab one with real nodes: containerd, kubelet and kube-proxy on each of them, pods that are
// containers, and nothing of hopsack until somebody installs it. The zero value is right.
type KubeletOptions struct {
	// ProxyMode is ProxyNFTables, ProxyIPTables or ProxyNone; empty: what the lab has, else ProxyNFTables.
	ProxyMode string
	// ClusterCIDR is where pods get their addresses from, which kube-proxy and the control plane's router are told; zero: what
	// the lab has, else 10.244.0.0/16.
	ClusterCIDR netip.Prefix
	// AllocateNodeCIDRs has kube-controller-manager give every Node a podCIDR out of ClusterCIDR; false: what the lab has, else
	// nobody does.
	AllocateNodeCIDRs bool
	// Images are OCI archives to import on every node, those that join later included.
	Images []string
}

// kubelets is what a lab with real nodes remembers of KubeletOptions.
type kubelets struct {
	ProxyMode         string       `json:"proxyMode"`
	ClusterCIDR       netip.Prefix `json:"clusterCIDR"`
	AllocateNodeCIDRs bool         `json:"allocateNodeCIDRs"`
	Images            []string     `json:"images,omitempty"`
}

// SetProxyMode has every node run kube-proxy in another mode, or none, without a change to anything else that runs. What the
// former kube-proxy made in the kernel is for the next one to clean up; ProxyNone leaves it.
func (c *Cluster) SetProxyMode(ctx context.Context, mode string) error {
	return c.withState(ctx, func(s *state) error {
		if s.Kubelet == nil {
			return errLight
		}
		if !slices.Contains([]string{ProxyNFTables, ProxyIPTables, ProxyNone}, mode) {
			return errProxyMode(mode)
		}
		for _, n := range s.Nodes {
			if err := c.end(ctx, s, KubeProxy(n.Name), unix.SIGTERM); err != nil {
				return err
			}
		}
		s.Kubelet.ProxyMode = mode
		if err := c.save(s); err != nil || mode == ProxyNone {
			return err
		}
		for _, n := range s.Nodes {
			if err := c.writeNodeConf(s, n); err != nil {
				return err
			}
			if err := c.start(ctx, s, KubeProxy(n.Name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func errProxyMode(mode string) error {
	return fmt.Errorf("mode %q of kube-proxy: want %s, %s or %s", mode, ProxyNFTables, ProxyIPTables, ProxyNone)
}

// errLight is the answer to what only a lab with kubelets can do.
var errLight = errors.New("this lab has no kubelets: start it with `lab up --kubelet`")

// errKubelet is the answer to what a kubelet does in this lab.
var errKubelet = errors.New("this lab has kubelets: use `lab kubectl` for pods and for what nodes say of themselves")

// mergeKubelet puts the options into the state. A lab that exists keeps its kind.
func (s *state) mergeKubelet(o *KubeletOptions, exists bool) error {
	if o == nil {
		return nil
	}
	if exists && s.Kubelet == nil {
		return errors.New("the lab is up without kubelets: take it down first with `lab down`")
	}
	if s.Kubelet == nil {
		s.Kubelet = &kubelets{
			ProxyMode: ProxyNFTables, ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), AllocateNodeCIDRs: o.AllocateNodeCIDRs,
		}
	}
	k := s.Kubelet
	if o.AllocateNodeCIDRs && !k.AllocateNodeCIDRs {
		return errors.New("the lab is up without podCIDRs on its Nodes: take it down first with `lab down`")
	}
	switch o.ProxyMode {
	case "":
	case ProxyNFTables, ProxyIPTables, ProxyNone:
		if exists && o.ProxyMode != k.ProxyMode {
			return fmt.Errorf("the lab is up with kube-proxy in mode %s: take it down first with `lab down`", k.ProxyMode)
		}
		k.ProxyMode = o.ProxyMode
	default:
		return errProxyMode(o.ProxyMode)
	}
	if o.ClusterCIDR.IsValid() {
		if exists && o.ClusterCIDR != k.ClusterCIDR {
			return fmt.Errorf("the lab is up with pods in %s: take it down first with `lab down`", k.ClusterCIDR)
		}
		k.ClusterCIDR = o.ClusterCIDR.Masked()
	}
	for _, image := range o.Images {
		path, err := filepath.Abs(image)
		if err != nil {
			return err
		}
		if !slices.Contains(k.Images, path) {
			k.Images = append(k.Images, path)
		}
	}
	return nil
}

// nodePrograms and nodeImages are what hack/build-kubelet-lab.sh makes for the lab itself.
var (
	nodePrograms = []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "runc"}
	nodeImages   = []string{"pause", "coredns"}
)

func (c *Cluster) nodeBin(name string) string { return filepath.Join(c.binDir, "kubelet", name) }

func (c *Cluster) nodeImage(name string) string {
	return filepath.Join(c.binDir, "kubelet", "images", name+".tar")
}

// preflightKubelet names what has to be built before a lab with kubelets can start.
func (c *Cluster) preflightKubelet(o *KubeletOptions) error {
	need := []string{c.controlPlaneBin("etcd"), c.controlPlaneBin("kube-apiserver"), c.controlPlaneBin("kubectl"), c.helper}
	for _, name := range nodePrograms {
		need = append(need, c.nodeBin(name))
	}
	for _, name := range nodeImages {
		need = append(need, c.nodeImage(name))
	}
	for _, path := range need {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is missing: build it with `make kubelet-lab`", path)
		}
	}
	for _, path := range o.Images {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}
