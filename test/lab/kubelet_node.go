package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab/internal/cgroup"
	"github.com/hopsack-net/hopsack/test/lab/internal/kubeconf"
	"github.com/hopsack-net/hopsack/test/lab/internal/machine"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// dnsAddr is the address of the name server's Service; see kubeconf.CoreDNS.
var dnsAddr = netip.MustParseAddr("10.96.0.10")

// startKubernetes brings a lab with kubelets from machines to nodes that the API server knows. Nodes come up while the API
// server does.
func (c *Cluster) startKubernetes(ctx context.Context, s *state) error {
	if err := c.routeToPods(s); err != nil {
		return err
	}
	group, all := errgroup.WithContext(ctx)
	group.Go(func() error { return c.startControllers(all, s) })
	for _, n := range s.Nodes {
		group.Go(func() error { return c.startNode(all, s, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.awaitNodes(ctx, s.Nodes); err != nil {
		return err
	}
	c.say("kubelets: %d nodes registered, kube-proxy: %s", len(s.Nodes), s.Kubelet.ProxyMode)
	return nil
}

// startControllers waits for the API server and starts what stands beside it, and the name server.
func (c *Cluster) startControllers(ctx context.Context, s *state) error {
	if err := c.awaitControlPlane(ctx, s); err != nil {
		return err
	}
	for _, name := range []string{ControllerManager, Scheduler} {
		if err := c.start(ctx, s, name); err != nil {
			return err
		}
	}
	objects, err := decode(kubeconf.CoreDNS)
	if err != nil {
		return err
	}
	api, err := c.Client()
	if err != nil {
		return err
	}
	for _, obj := range objects {
		err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.ForceOwnership, client.FieldOwner("lab"))
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Without it the first pod that somebody applies is refused.
	return c.Wait(ctx, "the default service account", func() (bool, error) {
		err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, err
	})
}

// startNode starts everything on a node whose machine runs. The API server need not answer.
func (c *Cluster) startNode(ctx context.Context, s *state, n Node) error {
	if err := c.writeNodeConf(s, n); err != nil {
		return err
	}
	forward := func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }
	if err := ns.InNetNS(netnsPath(n.Name), forward); err != nil {
		return fmt.Errorf("make node %s forward: %w", n.Name, err)
	}
	for _, name := range s.Kubelet.nodeComponents(n.Name) {
		if err := c.start(ctx, s, name); err != nil {
			return err
		}
		if name != Containerd(n.Name) {
			continue
		}
		// A kubelet that finds no sandbox image would ask a registry for it, which there is none of.
		if err := c.importImages(ctx, s, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// awaitNodes waits until every node has registered itself with the boot it is in.
func (c *Cluster) awaitNodes(ctx context.Context, nodes []Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	api, err := c.Client()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		boot, err := c.bootID(n.Name)
		if err != nil {
			return err
		}
		err = c.Wait(ctx, "node "+n.Name+" to register", func() (bool, error) {
			var node corev1.Node
			if err := api.Get(ctx, client.ObjectKey{Name: n.Name}, &node); err != nil {
				return false, err
			}
			return node.Status.NodeInfo.BootID == boot, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routeToPods lets the API server speak to pods, as one that runs on a node does: through a node on its own segment.
func (c *Cluster) routeToPods(s *state) error {
	for _, n := range s.Nodes {
		if n.Routed {
			continue
		}
		h, err := openHandle(placeControlPlane)
		if err != nil {
			return err
		}
		defer h.Close()
		pods := s.Kubelet.ClusterCIDR
		route := &netlink.Route{
			Dst: &net.IPNet{IP: pods.Addr().AsSlice(), Mask: net.CIDRMask(pods.Bits(), pods.Addr().BitLen())},
			Gw:  net.IP(n.prefix().Addr().AsSlice()),
		}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("route %s of the control plane: %w", pods, err)
		}
		return nil
	}
	return nil
}

// startComputer starts the machine of a node with a kubelet unless it runs.
func (c *Cluster) startComputer(ctx context.Context, name string) error {
	spec := machine.Spec{Name: name, NetNS: netnsPath(name), Log: c.LogPath("machine-" + name)}
	if c.Running(spec.RecordName()) {
		return nil
	}
	disk := c.path("nodes", name, "disk")
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	groups, err := c.makeCgroups(ctx, name)
	if err != nil {
		return err
	}
	spec.Binds = []machine.Bind{{Source: c.dir, Target: c.dir}, {Source: c.binDir, Target: c.binDir}}
	spec.Computer = &machine.Computer{
		Disk: disk, Cgroups: groups, Sysctls: kubeconf.Sysctls(),
		Files: map[string]string{
			"/etc/hostname": name + "\n",
			"/etc/hosts":    "127.0.0.1 localhost\n::1 localhost\n",
			// The machine's own name servers are not reachable from its nodes.
			"/etc/resolv.conf": "",
		},
	}
	_, err = machine.Start(c.helper, c.procs, spec)
	return err
}

func cgroupsPath(node string) string { return filepath.Join(runDir, "cgroups-"+node+".json") }

// makeCgroups makes a node's control groups. They are recorded first: the next command may be in another group itself.
func (c *Cluster) makeCgroups(ctx context.Context, node string) ([]cgroup.Hierarchy, error) {
	if err := removeCgroups(ctx, node); err != nil {
		return nil, err
	}
	own, err := cgroup.Own()
	if err != nil {
		return nil, err
	}
	groups := cgroup.Child(own, netnsPrefix+node)
	if err := writeJSON(cgroupsPath(node), groups); err != nil {
		return nil, err
	}
	return groups, cgroup.Make(groups)
}

// removeCgroups removes the control groups of a node whose processes were killed. A node without any is success.
func removeCgroups(ctx context.Context, node string) error {
	raw, err := os.ReadFile(cgroupsPath(node))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var groups []cgroup.Hierarchy
	if err == nil {
		err = json.Unmarshal(raw, &groups)
	}
	if err != nil {
		return fmt.Errorf("read control groups of %s: %w", node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := cgroup.Remove(ctx, groups); err != nil {
		return err
	}
	return removeFile(cgroupsPath(node))
}

// removeAllCgroups removes those of every node there ever was in this lab.
func removeAllCgroups(ctx context.Context) error {
	files, err := filepath.Glob(cgroupsPath("*"))
	errs := []error{err}
	for _, file := range files {
		name := filepath.Base(file)
		errs = append(errs, removeCgroups(ctx, name[len("cgroups-"):len(name)-len(".json")]))
	}
	return errors.Join(errs...)
}
