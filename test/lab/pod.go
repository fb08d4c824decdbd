package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/sandbox"
)

// PortMapping publishes a pod's port on its node.
type PortMapping = sandbox.PortMapping

// Pod is a network namespace that the node's CNI plugins have connected.
type Pod struct {
	// Namespace and Name are what the plugins are told; names are unique in the lab.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Node is where it runs.
	Node string `json:"node"`
	// ContainerID is new for each pod.
	ContainerID string `json:"containerID"`
	// HostPorts are published on the node.
	HostPorts []PortMapping `json:"hostPorts,omitempty"`
	// IPs are its addresses, one per family; none while it is being added.
	IPs []netip.Addr `json:"ips,omitempty"`
}

// NetNSName is the pod's name for `ip netns exec`.
func (p Pod) NetNSName() string { return netnsPrefix + podPrefix + p.Name }

// PodSpec says what AddPod makes.
type PodSpec struct {
	// Name is the pod's name, a DNS label; required.
	Name string
	// Node is where it runs; required.
	Node string
	// Namespace is what the plugins are told; empty: "default".
	Namespace string
	// HostPorts are published on the node.
	HostPorts []PortMapping
	// Wait is how long to try again while the node has no network yet, as a kubelet does; 0: one attempt.
	Wait time.Duration
}

var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)

func (s PodSpec) check(st *state) error {
	if !podName.MatchString(s.Name) {
		return fmt.Errorf("pod name %q: want lower case letters, digits and dashes, at most 42", s.Name)
	}
	if _, err := parseNodeName(s.Name); err == nil || isPlace(s.Name) || s.Name == "router" || s.Name == "switch" {
		return fmt.Errorf("pod name %q: the lab uses it for another place", s.Name)
	}
	if _, ok := st.node(s.Node); !ok {
		return fmt.Errorf("no node %q in the lab", s.Node)
	}
	return nil
}

// AddPod makes a pod and returns it with its addresses. A pod of that name on that node is returned as it is.
func (c *Cluster) AddPod(ctx context.Context, spec PodSpec) (Pod, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline := time.Now().Add(spec.Wait)
	for {
		pod, err := c.tryPod(ctx, spec)
		var refusal *sandbox.Error
		if err == nil || !errors.As(err, &refusal) || !refusal.Retry || time.Now().After(deadline) {
			return pod, err
		}
		select {
		case <-ctx.Done():
			return pod, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tryPod makes one attempt. The lock is shared, and taken for the attempt only: what a pod waits for may be a command.
func (c *Cluster) tryPod(ctx context.Context, spec PodSpec) (Pod, error) {
	unlock, err := c.lockShared(ctx)
	if err != nil {
		return Pod{}, err
	}
	defer unlock()
	st, err := c.load()
	if err != nil {
		return Pod{}, err
	}
	if st.Kubelet != nil {
		return Pod{}, errKubelet
	}
	if err := spec.check(st); err != nil {
		return Pod{}, err
	}
	have, err := c.loadPod(spec.Name)
	if err == nil {
		switch {
		case have.Node != spec.Node:
			return have, fmt.Errorf("pod %s exists on node %s", have.Name, have.Node)
		case len(have.IPs) > 0 && ns.Exists(ns.Path(have.NetNSName())):
			return have, nil
		}
		// What is left of an attempt that was interrupted.
		err = c.removePod(ctx, have)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Pod{}, err
	}
	return c.createPod(ctx, spec)
}

func (c *Cluster) createPod(ctx context.Context, spec PodSpec) (Pod, error) {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return Pod{}, err
	}
	pod := Pod{Namespace: spec.Namespace, Name: spec.Name, Node: spec.Node, ContainerID: hex.EncodeToString(id), HostPorts: spec.HostPorts}
	if pod.Namespace == "" {
		pod.Namespace = "default"
	}
	// Saved before anything exists, so that what a crash leaves is known.
	if err := writeJSON(c.podPath(pod.Name), pod); err != nil {
		return pod, err
	}
	reply, err := c.callSandbox(ctx, sandbox.OpAdd, pod)
	if err != nil {
		err = fmt.Errorf("add pod %s on node %s: %w", pod.Name, pod.Node, err)
		return pod, errors.Join(err, removeFile(c.podPath(pod.Name)))
	}
	pod.IPs = reply.IPs
	if err := c.exposePod(pod); err != nil {
		return pod, errors.Join(err, c.removePod(ctx, pod))
	}
	return pod, writeJSON(c.podPath(pod.Name), pod)
}

// exposePod gives the pod's network namespace a name that tools outside the node can use.
func (c *Cluster) exposePod(pod Pod) error {
	holder, err := c.procs.Load(machineRecord(pod.Node))
	if err != nil {
		return err
	}
	return ns.Bind(fmt.Sprintf("/proc/%d/root%s", holder.PID, sandbox.NetNS(pod.Name)), ns.Path(pod.NetNSName()))
}

// DelPod takes a pod off its network and removes it. An unknown pod is success.
func (c *Cluster) DelPod(ctx context.Context, name string) error {
	unlock, err := c.lockShared(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	pod, err := c.loadPod(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.removePod(ctx, pod)
}

// CheckPod asks the plugins whether the pod's network is as they made it.
func (c *Cluster) CheckPod(ctx context.Context, name string) error {
	pod, err := c.loadPod(name)
	if err != nil {
		return err
	}
	_, err = c.callSandbox(ctx, sandbox.OpCheck, pod)
	return err
}

func (c *Cluster) removePod(ctx context.Context, pod Pod) error {
	// On a node that lost its machine there is nothing left to take down.
	if c.Running(machineRecord(pod.Node)) {
		if _, err := c.callSandbox(ctx, sandbox.OpDel, pod); err != nil {
			return fmt.Errorf("delete pod %s on node %s: %w", pod.Name, pod.Node, err)
		}
	}
	if err := ns.Delete(ns.Path(pod.NetNSName())); err != nil {
		return err
	}
	return removeFile(c.podPath(pod.Name))
}

// forgetPods removes the pods of a node that has ended.
func (c *Cluster) forgetPods(node string) error {
	pods, err := c.Pods()
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if pod.Node != node {
			continue
		}
		if err := ns.Delete(ns.Path(pod.NetNSName())); err != nil {
			return err
		}
		if err := removeFile(c.podPath(pod.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) callSandbox(ctx context.Context, op string, pod Pod) (sandbox.Reply, error) {
	pidfd, err := c.openMachine(pod.Node)
	if err != nil {
		return sandbox.Reply{}, err
	}
	defer unix.Close(pidfd)
	return sandbox.Call(ctx, c.helper, ns.Place{PIDFD: pidfd}, sandbox.Request{
		Op: op, Namespace: pod.Namespace, Name: pod.Name, ContainerID: pod.ContainerID, HostPorts: pod.HostPorts,
	})
}

func (c *Cluster) podPath(name string) string { return c.path("pods", name+".json") }

// loadPod reads one pod; os.ErrNotExist when there is none.
func (c *Cluster) loadPod(name string) (Pod, error) {
	var pod Pod
	raw, err := os.ReadFile(c.podPath(filepath.Base(name)))
	if err != nil {
		return pod, err
	}
	if err := json.Unmarshal(raw, &pod); err != nil {
		return pod, fmt.Errorf("read %s: %w", c.podPath(name), err)
	}
	return pod, nil
}

// Pods returns every pod, in order of their names.
func (c *Cluster) Pods() ([]Pod, error) {
	paths, err := filepath.Glob(c.podPath("*"))
	if err != nil {
		return nil, err
	}
	var pods []Pod
	for _, path := range paths {
		pod, err := c.loadPod(strings.TrimSuffix(filepath.Base(path), ".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

// PodIP returns a pod's first address.
func (c *Cluster) PodIP(name string) (netip.Addr, error) {
	t, err := c.resolve(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("pod %s: %w", name, err)
	}
	if len(t.addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("pod %s has no address", name)
	}
	return t.addrs[0], nil
}
