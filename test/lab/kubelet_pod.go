package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
)

// realPod finds a pod that a kubelet runs by its name, or by namespace/name, and its network namespace on the node. It asks the
// API server, and nothing is remembered: a pod that was replaced is another one.
func (c *Cluster) realPod(s *state, name string) (target, error) {
	key := client.ObjectKey{Namespace: "default", Name: name}
	if namespace, base, ok := strings.Cut(name, "/"); ok {
		key = client.ObjectKey{Namespace: namespace, Name: base}
	}
	api, err := c.Client()
	if err != nil {
		return target{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	var pod corev1.Pod
	if err := api.Get(ctx, key, &pod); err != nil {
		return target{}, fmt.Errorf("pod %s: %w", key, err)
	}
	if pod.Spec.HostNetwork {
		return target{}, fmt.Errorf("pod %s uses the network of its node: name node %s", key, pod.Spec.NodeName)
	}
	t := target{machine: pod.Spec.NodeName}
	for _, ip := range pod.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return target{}, fmt.Errorf("pod %s: address: %w", key, err)
		}
		t.addrs = append(t.addrs, addr)
	}
	if _, ok := s.node(t.machine); !ok || len(t.addrs) == 0 {
		return target{}, fmt.Errorf("pod %s has no node or no address yet", key)
	}
	t.netns, err = c.netnsOfPod(t.machine, t.addrs[0])
	return t, err
}

// netnsOfPod returns the path, as the node sees it, of the network namespace on a node that has the address.
func (c *Cluster) netnsOfPod(node string, addr netip.Addr) (string, error) {
	root, err := c.rootOf(node)
	if err != nil {
		return "", err
	}
	paths, err := filepath.Glob(root + "/run/netns/*")
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		found := false
		err := ns.InNetNS(path, func() error {
			addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
			for _, a := range addrs {
				found = found || a.IP.Equal(net.IP(addr.AsSlice()))
			}
			return err
		})
		// Other pods may go while this one is looked for.
		if err == nil && found {
			return strings.TrimPrefix(path, root), nil
		}
	}
	return "", fmt.Errorf("no network namespace on node %s has the address %s", node, addr)
}

// rootOf is where a node's files are seen from outside, for as long as it is not rebooted.
func (c *Cluster) rootOf(node string) (string, error) {
	holder, err := c.procs.Load(machineRecord(node))
	if err != nil {
		return "", fmt.Errorf("node %s does not run: %w", node, err)
	}
	return fmt.Sprintf("/proc/%d/root", holder.PID), nil
}
