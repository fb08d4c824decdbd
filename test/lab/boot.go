package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiTimeout bounds what is written for a machine beside something else: an API server may run and not answer.
const apiTimeout = 5 * time.Second

// bootID returns the boot ID of a machine that runs, as its own processes read it.
func (c *Cluster) bootID(name string) (string, error) {
	holder, err := c.procs.Load(machineRecord(name))
	if err != nil {
		return "", fmt.Errorf("machine %s: %w", name, err)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/sys/kernel/random/boot_id", holder.PID))
	if err != nil {
		return "", fmt.Errorf("read boot ID of %s: %w", name, err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// announceBoots writes the boot ID of every node that runs into its Node object, as a kubelet does after a boot.
func (c *Cluster) announceBoots(ctx context.Context, s *state) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	api, err := c.Client()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range s.Nodes {
		if !c.Running(machineRecord(n.Name)) {
			continue
		}
		boot, err := c.bootID(n.Name)
		if err == nil {
			err = patchNodeStatus(ctx, api, n.Name, func(status *corev1.NodeStatus) { status.NodeInfo.BootID = boot })
		}
		// A lab whose start was interrupted may lack the object.
		errs = append(errs, client.IgnoreNotFound(err))
	}
	return errors.Join(errs...)
}

// SetNodeReady writes the condition Ready of a Node object as a kubelet, or whoever misses it, would, with since as the time
// of the change (zero: now). Nothing else changes it: the lab's nodes have no kubelet.
func (c *Cluster) SetNodeReady(ctx context.Context, name string, ready bool, since time.Time) error {
	return c.withState(ctx, func(s *state) error {
		if s.Kubelet != nil {
			return errKubelet
		}
		if _, ok := s.node(name); !ok {
			return fmt.Errorf("no node %s in the lab", name)
		}
		api, err := c.Client()
		if err != nil {
			return err
		}
		now := metav1.Now()
		cond := corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "LabNode", Message: "set by hand; no kubelet runs here",
			LastHeartbeatTime: now, LastTransitionTime: now,
		}
		if !ready {
			cond.Status, cond.Reason = corev1.ConditionUnknown, "NodeStatusUnknown"
		}
		if !since.IsZero() {
			cond.LastTransitionTime = metav1.NewTime(since)
		}
		return patchNodeStatus(ctx, api, name, func(status *corev1.NodeStatus) {
			for i := range status.Conditions {
				if status.Conditions[i].Type == cond.Type {
					status.Conditions[i] = cond
					return
				}
			}
			status.Conditions = append(status.Conditions, cond)
		})
	})
}

// patchNodeStatus changes a Node's status, and only what change changes: others have conditions of their own there.
func patchNodeStatus(ctx context.Context, api client.Client, name string, change func(*corev1.NodeStatus)) error {
	var node corev1.Node
	if err := api.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
		return fmt.Errorf("read node %s: %w", name, err)
	}
	before := node.DeepCopy()
	change(&node.Status)
	if err := api.Status().Patch(ctx, &node, client.StrategicMergeFrom(before)); err != nil {
		return fmt.Errorf("write status of node %s: %w", name, err)
	}
	return nil
}
