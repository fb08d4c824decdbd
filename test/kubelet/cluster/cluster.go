package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

const (
	// startTimeout bounds the time until the nodes have registered and have their images.
	startTimeout = 5 * time.Minute
	downTimeout  = 2 * time.Minute
	// Patience bounds every wait for something that is to happen by itself. It is generous: machines are shared.
	Patience = 2 * time.Minute
)

// Agnhost is an image of the end-to-end tests of Kubernetes, which every node has: it serves and asks HTTP, UDP and names.
const Agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"

// Options say what cluster it is. The zero value is three nodes, the last one behind a router, and kube-proxy in mode nftables.
type Options struct {
	// Nodes and Routed are lab.Options'; Nodes 0 means three of which one is routed.
	Nodes, Routed int
	// KubeProxy is a mode of lab.KubeletOptions; empty: nftables.
	KubeProxy string
	// ClusterCIDR and AllocateNodeCIDRs are lab.KubeletOptions'.
	ClusterCIDR       netip.Prefix
	AllocateNodeCIDRs bool
	// Images are further OCI archives for every node.
	Images []string
	// Dir is the lab's state directory; empty: a temporary one, removed with the cluster.
	Dir string
	// Helper is the program that answers the lab's hidden subcommands; empty: bin/lab.
	Helper string
	// Out takes progress; nil: none.
	Out io.Writer
}

// Cluster is a cluster that runs. Its Lab's commands reach pods by their names.
type Cluster struct {
	*lab.Cluster
	// Root is the repository.
	Root string

	temporary string
}

// Start builds a cluster without hopsack. It returns once every node has registered; without a network none is Ready. What it
// built is gone when it fails.
func Start(ctx context.Context, o Options) (c *Cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	root, err := FindRoot()
	if err != nil {
		return nil, err
	}
	c = &Cluster{Root: root}
	if o.Dir == "" {
		if c.temporary, err = os.MkdirTemp("", "hopsack-cluster-"); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
		o.Dir = c.temporary
	}
	started := c
	defer func() {
		if err != nil {
			err = errors.Join(err, started.Down(ctx))
		}
	}()
	if c.Cluster, err = lab.OpenConfig(lab.Config{Dir: o.Dir, Root: root, Helper: o.Helper, Out: o.Out}); err != nil {
		return nil, err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if st.Up || st.Owner != "" {
		owner := cmp.Or(st.Owner, c.Dir())
		c.Cluster = nil // it is not ours to take down
		return nil, fmt.Errorf("a lab is up (in %s): take it down first with `lab down`", owner)
	}
	if o.Nodes == 0 {
		o.Nodes, o.Routed = 3, 1
	}
	images := []string{
		c.Image("hopsack-agent.tar"), c.Image("hopsack-controller.tar"), c.path("bin", "kubelet", "images", "agnhost.tar"),
		c.path("bin", "kubelet", "images", "busybox.tar"),
	}
	err = c.Up(ctx, lab.Options{Nodes: o.Nodes, Routed: o.Routed, Kubelet: &lab.KubeletOptions{
		ProxyMode: o.KubeProxy, ClusterCIDR: o.ClusterCIDR, AllocateNodeCIDRs: o.AllocateNodeCIDRs, Images: append(images, o.Images...),
	}})
	if err != nil {
		return nil, fmt.Errorf("start the lab: %w", err)
	}
	return c, nil
}

// Down takes the cluster down. One that never started is success.
func (c *Cluster) Down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	var err error
	if c.Cluster != nil {
		if err = c.Cluster.Down(ctx); err != nil {
			return fmt.Errorf("take the lab down (again by hand: bin/lab down --dir %s): %w", c.Dir(), err)
		}
	}
	if c.temporary != "" {
		err = os.RemoveAll(c.temporary)
	}
	return err
}

// Image is the path of one of hopsack's images; `make kubelet-images` makes them. Those of the version after are in the folder
// "next".
func (c *Cluster) Image(name string) string { return c.path("bin", "images", name) }

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.Root}, elem...)...)
}

// Sample is the path of one of the samples users start from.
func (c *Cluster) Sample(name string) string { return c.path("config", "samples", name) }

// Soon waits until done says so, for as long as Patience lasts.
func (c *Cluster) Soon(ctx context.Context, desc string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return c.Wait(ctx, desc, done)
}

// Sh runs a shell command on a node, in a pod's network (with the node's files) or in another place of the lab.
func (c *Cluster) Sh(ctx context.Context, place, script string) (string, error) {
	return c.Exec(ctx, place, "sh", "-c", script)
}

// Describe says what the cluster reports of nodes, pods and hopsack, for whoever has to find out what went wrong.
func (c *Cluster) Describe(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	var all strings.Builder
	for _, args := range [][]string{
		{"get", "nodes,pods,networkconfigs,subnetleases,nodenetworks", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
		{"logs", "-n", "hopsack-system", "-l", "app.kubernetes.io/name=hopsack", "--all-containers", "--prefix", "--tail=60"},
	} {
		out, err := c.Kubectl(ctx, args...)
		fmt.Fprintf(&all, "# kubectl %s\n%s\n", strings.Join(args, " "), out)
		if err != nil {
			fmt.Fprintln(&all, err)
		}
	}
	return all.String()
}

// FindRoot is the repository that the working directory is in.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the repository: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}
