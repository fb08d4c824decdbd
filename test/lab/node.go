package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/machine"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// cniPlugins are the reference plugins a node has in /opt/cni/bin beside hopsack's own.
var cniPlugins = []string{"bridge", "host-local", "portmap", "loopback"}

// AddNode adds a node to a running lab: namespaces, Node object, credentials, agent. A node that exists is repaired.
func (c *Cluster) AddNode(ctx context.Context, name string, routed bool) error {
	index, err := parseNodeName(name)
	if err != nil {
		return err
	}
	return c.withState(ctx, func(s *state) error {
		n := Node{Name: name, Index: index, Routed: routed}
		if have, ok := s.node(name); ok && have != n {
			return fmt.Errorf("node %s exists with routed=%t", name, have.Routed)
		} else if !ok {
			s.Nodes = append(s.Nodes, n)
			// Saved first: what a crash leaves behind is then known to Down.
			if err := c.save(s); err != nil {
				return err
			}
		}
		if err := c.buildNode(ctx, s, n); err != nil {
			return err
		}
		if s.Kubelet != nil {
			if err := c.startNode(ctx, s, n); err != nil {
				return err
			}
			c.say("node %s: %s, kubelet running", n.Name, n.prefix().Addr())
			return c.awaitNodes(ctx, []Node{n})
		}
		if err := c.register(ctx, n); err != nil {
			return err
		}
		if err := c.startAgent(ctx, s, n); err != nil {
			return err
		}
		c.say("node %s: %s, agent running", n.Name, n.prefix().Addr())
		return nil
	})
}

// DelNode removes a node as if it had been unplugged and then deleted: its agent and pods go at once, then its Node
// object. An unknown node is success.
func (c *Cluster) DelNode(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		n, ok := s.node(name)
		if !ok {
			return nil
		}
		if err := c.endMachine(ctx, name); err != nil {
			return err
		}
		if err := c.forgetPods(name); err != nil {
			return err
		}
		if err := dismantleNode(n); err != nil {
			return err
		}
		if err := c.unregister(ctx, n); err != nil {
			return err
		}
		if err := os.RemoveAll(c.path("nodes", name)); err != nil {
			return err
		}
		s.Nodes = without(s.Nodes, n)
		return c.forgetFaults(s, name)
	})
}

// RebootNode ends everything on a node at once, as a power failure does, and starts it again: its disk (/etc/cni,
// /var/lib/cni, /var/lib/hopsack) stays, its pods, /run and kernel state are gone, and its boot ID is another one, which its
// Node object says (once the API server is up again, when it is not). The API server need not be up.
func (c *Cluster) RebootNode(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		n, ok := s.node(name)
		if !ok {
			return fmt.Errorf("no node %s in the lab", name)
		}
		if err := c.endMachine(ctx, name); err != nil {
			return err
		}
		return c.boot(ctx, s, n)
	})
}

func without(nodes []Node, drop Node) []Node {
	var rest []Node
	for _, n := range nodes {
		if n.Name != drop.Name {
			rest = append(rest, n)
		}
	}
	return rest
}

// buildNode makes a node's network namespace, cable and machine. A machine that runs is kept; one that does not starts
// without pods and with an empty kernel, as after a power failure.
func (c *Cluster) buildNode(ctx context.Context, s *state, n Node) error {
	if !c.Running(machineRecord(n.Name)) {
		if err := c.forgetPods(n.Name); err != nil {
			return err
		}
		if err := dismantleNode(n); err != nil {
			return err
		}
	}
	if err := makeNetNS(n.Name); err != nil {
		return err
	}
	if n.Routed {
		if err := buildSegment(n.segment()); err != nil {
			return err
		}
	}
	if err := plug(n.Name, n.segment(), n.prefix()); err != nil {
		return err
	}
	if s.Kubelet != nil {
		return c.startComputer(ctx, n.Name)
	}
	binds, err := c.nodeDisk(n.Name)
	if err != nil {
		return err
	}
	return c.startMachine(n.Name, binds)
}

// nodeDisk makes the directories that survive a reboot of the node and says where the node sees them.
func (c *Cluster) nodeDisk(name string) ([]machine.Bind, error) {
	disk := c.path("nodes", name)
	var binds []machine.Bind
	for _, target := range []string{"/etc/cni", "/var/lib/cni", "/var/lib/hopsack", "/opt/cni/bin"} {
		source := filepath.Join(disk, target)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return nil, err
		}
		binds = append(binds, machine.Bind{Source: source, Target: target})
	}
	// Links, so that a plugin that was rebuilt is the one the next pod gets.
	links := map[string]string{"hopsack": filepath.Join(c.binDir, "hopsack-cni")}
	for _, plugin := range cniPlugins {
		links[plugin] = filepath.Join(c.binDir, "cni", plugin)
	}
	for link, target := range links {
		path := filepath.Join(disk, "opt/cni/bin", link)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := os.Symlink(target, path); err != nil {
			return nil, err
		}
	}
	return binds, nil
}

// startMachine starts the holder of a machine unless it runs. Programs and state directory keep their paths in there.
func (c *Cluster) startMachine(name string, binds []machine.Bind) error {
	spec := machine.Spec{Name: name, NetNS: netnsPath(name), Log: c.LogPath("machine-" + name)}
	if c.Running(spec.RecordName()) {
		return nil
	}
	spec.Binds = append([]machine.Bind{{Source: c.dir, Target: c.dir}, {Source: c.binDir, Target: c.binDir}}, binds...)
	_, err := machine.Start(c.helper, c.procs, spec)
	return err
}

func machineRecord(name string) string { return machine.Spec{Name: name}.RecordName() }

// endMachine kills a machine's holder and with it everything that runs there.
func (c *Cluster) endMachine(ctx context.Context, name string) error {
	record := machineRecord(name)
	r, err := c.procs.Load(record)
	if err == nil {
		err = r.End(ctx, unix.SIGKILL)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("end machine %s: %w", name, err)
	}
	components := []string{Agent(name), proxy(name), Containerd(name), Kubelet(name), KubeProxy(name)}
	if name == placeControlPlane {
		components = []string{ETCD, APIServer, Controller, ControllerManager, Scheduler}
	}
	if err := removeCgroups(ctx, name); err != nil {
		return err
	}
	for _, comp := range append(components, record) {
		if err := c.procs.Remove(comp); err != nil {
			return err
		}
	}
	return nil
}

// dismantleNode removes a node's network namespace and what the underlay had for it.
func dismantleNode(n Node) error {
	if err := unplug(n.Name); err != nil {
		return err
	}
	if n.Routed {
		if err := dropSegment(n.segment()); err != nil {
			return err
		}
	}
	return ns.Delete(netnsPath(n.Name))
}
