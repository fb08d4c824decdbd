package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
	"github.com/hopsack-net/hopsack/test/lab/internal/sandbox"
)

// A target names a place where commands can run: a node (n1), a pod (in a lab with kubelets by its name or namespace/name),
// "client" (a machine outside the cluster on the first segment), "router", "switch" or "cp" (the control plane).
type target struct {
	// name is the network namespace without its prefix; netns is the path on machine of one that has no name here.
	name, netns string
	// machine holds the mount and PID namespaces of the place; empty when it has none of its own.
	machine string
	// pod is set when the place is a pod on machine.
	pod   string
	addrs []netip.Addr
}

func (c *Cluster) resolve(name string) (target, error) {
	switch name {
	case "client":
		return target{name: placeClient, addrs: []netip.Addr{clientAddr.Addr()}}, nil
	case "router", placeRouter:
		return target{name: placeRouter, addrs: []netip.Addr{segmentPrefix(0, 1).Addr()}}, nil
	case "switch", placeSwitch:
		return target{name: placeSwitch}, nil
	case placeControlPlane:
		return target{name: placeControlPlane, machine: placeControlPlane, addrs: []netip.Addr{controlPlaneAddr.Addr()}}, nil
	}
	s, err := c.load()
	if err != nil {
		return target{}, err
	}
	if n, ok := s.node(name); ok {
		return target{name: n.Name, machine: n.Name, addrs: n.Addrs()}, nil
	}
	if s.Kubelet != nil {
		return c.realPod(s, name)
	}
	pod, err := c.loadPod(name)
	if errors.Is(err, os.ErrNotExist) {
		return target{}, fmt.Errorf("no node or pod %q in the lab (also known: client, router, switch, cp)", name)
	}
	if err != nil {
		return target{}, err
	}
	return target{name: podPrefix + name, machine: pod.Node, pod: name, addrs: pod.IPs}, nil
}

// NetNS returns the path of the network namespace of a node, a pod, "client", "router", "switch" or "cp".
func (c *Cluster) NetNS(name string) (string, error) {
	t, err := c.resolve(name)
	if err != nil {
		return "", err
	}
	if t.netns != "" {
		root, err := c.rootOf(t.machine)
		return root + t.netns, err
	}
	path := netnsPath(t.name)
	if !ns.Exists(path) {
		return "", fmt.Errorf("%s has no network namespace: repair the lab with `lab up`", name)
	}
	return path, nil
}

// Addrs returns the addresses under which a node, a pod, "client", "router" or "cp" is reached, one per family.
func (c *Cluster) Addrs(name string) ([]netip.Addr, error) {
	t, err := c.resolve(name)
	return t.addrs, err
}

// WithNetNS runs fn on a thread of its own inside the network namespace at path (see NetNS). Sockets that fn opens stay in
// there; goroutines that fn starts run outside.
func WithNetNS(path string, fn func() error) error { return ns.InNetNS(path, fn) }

// StartIn starts cmd in a node, a pod or another place (see NetNS): in its network, and for nodes and pods with the node's
// files and process IDs. The caller calls cmd.Wait.
func (c *Cluster) StartIn(name string, cmd *exec.Cmd) error {
	t, err := c.resolve(name)
	if err != nil {
		return err
	}
	place := ns.Place{NetNS: netnsPath(t.name), FreshSys: true}
	if t.machine != "" {
		pidfd, err := c.openMachine(t.machine)
		if err != nil {
			return err
		}
		defer unix.Close(pidfd)
		place = ns.Place{PIDFD: pidfd}
	}
	if t.netns != "" {
		place.NetNS, place.FreshSys = t.netns, true
	}
	if t.pod != "" {
		place.NetNS, place.FreshSys = sandbox.NetNS(t.pod), true
	}
	return place.Start(cmd)
}

// Exec runs a command in a node, a pod or another place (see NetNS) and returns its standard output. A failure carries
// its standard error.
func (c *Cluster) Exec(ctx context.Context, name string, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("exec: no command given")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := c.StartIn(name, cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), errors.Join(fmt.Errorf("%s: %s: %w: %s", name, strings.Join(argv, " "), err, strings.TrimSpace(stderr.String())), ctx.Err())
	}
	return out.String(), nil
}

// StableAddr returns the address that a node uses towards pods: the gateway address of its first subnet that is not
// draining, as the agent has handed it to the CNI plugin. It does not need the API server.
func (c *Cluster) StableAddr(node string) (netip.Addr, error) {
	holder, err := c.procs.Load(machineRecord(node))
	if err == nil && !holder.Alive() {
		err = proc.ErrGone
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("node %s: %w", node, err)
	}
	file, err := handoff.Read(fmt.Sprintf("/proc/%d/root%s", holder.PID, handoff.DefaultPath))
	if errors.Is(err, os.ErrNotExist) {
		return netip.Addr{}, fmt.Errorf("node %s has no pod network yet", node)
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("node %s: %w", node, err)
	}
	for _, subnet := range file.Usable() {
		return subnet.Gateway, nil
	}
	return netip.Addr{}, fmt.Errorf("node %s has no subnet that is not draining", node)
}
