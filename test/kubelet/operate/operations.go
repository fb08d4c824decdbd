package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/kubelet/load"
	"github.com/hopsack-net/hopsack/test/lab"
)

// DeleteAll deletes every pod of hopsack at once, and waits until all are back.
func (w *World) DeleteAll(ctx context.Context) (Operation, error) {
	return w.measure(ctx, "delete every pod of hopsack", allPaths(), func(ctx context.Context) error {
		if _, err := w.Kubectl(ctx, "delete", "pod", "-n", namespace, "--all", "--timeout=2m"); err != nil {
			return err
		}
		return w.ready(ctx)
	})
}

// RestartAgents replaces the agents one by one, as an upgrade does, without another version.
func (w *World) RestartAgents(ctx context.Context) (Operation, error) {
	return w.measure(ctx, "restart agents", allPaths(), func(ctx context.Context) error {
		if _, err := w.Kubectl(ctx, "rollout", "restart", "-n", namespace, agents); err != nil {
			return err
		}
		return w.ready(ctx)
	})
}

// Power turns a node off, and on again after a while, or once it is NotReady when the while is 0. What is measured are the paths
// of the other nodes.
func (w *World) Power(ctx context.Context, off time.Duration) (op Operation, err error) {
	before, err := w.pod(ctx, sparePod)
	if err != nil {
		return op, err
	}
	var boot, back time.Duration
	op, err = w.measure(ctx, "turn a node off and on", others(), func(ctx context.Context) error {
		if err := w.PowerOff(ctx, spare); err != nil {
			return err
		}
		if err := w.staysOff(ctx, off); err != nil {
			return err
		}
		start := time.Now()
		if err := w.PowerOn(ctx, spare); err != nil {
			return err
		}
		boot = time.Since(start)
		err := w.Soon(ctx, sparePod+" to be Ready again and to answer", func() (bool, error) { return w.answers(ctx, before) })
		back = time.Since(start)
		return errors.Join(err, w.ready(ctx))
	})
	op.BootSeconds, op.BackSeconds = seconds(boot), seconds(back)
	return op, err
}

// staysOff waits for a while or, when it is 0, until the cluster has noticed.
func (w *World) staysOff(ctx context.Context, off time.Duration) error {
	if off > 0 {
		return load.Pause(ctx, off)
	}
	return w.Soon(ctx, spare+" to be NotReady", func() (bool, error) {
		var node corev1.Node
		if err := w.api.Get(ctx, client.ObjectKey{Name: spare}, &node); err != nil {
			return false, err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status != corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
}

// answers says whether a pod has been started again since before, is Ready, and answers another node's pod.
func (w *World) answers(ctx context.Context, before *corev1.Pod) (bool, error) {
	pod, err := w.pod(ctx, before.Name)
	if err != nil {
		return false, err
	}
	if restarts(pod) == restarts(before) || !podReady(pod) {
		return false, errors.New("it has not been started again")
	}
	got, err := w.Get(ctx, "p1", fmt.Sprintf("http://%s:8080/hostname", pod.Status.PodIP))
	if err == nil && strings.TrimSpace(got) != pod.Name {
		err = fmt.Errorf("%s answers, not it", got)
	}
	return err == nil, err
}

func (w *World) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	var pod corev1.Pod
	return &pod, w.api.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, &pod)
}

func restarts(pod *corev1.Pod) (n int32) {
	for _, c := range pod.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// controlPlane is in the order in which it starts.
var controlPlane = []string{lab.ETCD, lab.APIServer, lab.ControllerManager, lab.Scheduler}

// StopControlPlane ends all of it, without a word to anybody, and starts it after a while.
func (w *World) StopControlPlane(ctx context.Context, d time.Duration) (Operation, error) {
	return w.measure(ctx, "stop the control plane", allPaths(), func(ctx context.Context) (err error) {
		defer func() {
			for _, name := range controlPlane {
				err = errors.Join(err, w.Start(context.WithoutCancel(ctx), name))
			}
			if err == nil {
				err = w.ready(ctx)
			}
		}()
		for i := len(controlPlane) - 1; i >= 0; i-- {
			if err := w.Kill(ctx, controlPlane[i]); err != nil {
				return err
			}
		}
		return load.Pause(ctx, d)
	})
}

// inEffect returns nil when the network is as it was asked for.
func inEffect(cfg v1alpha1.NetworkConfig) error {
	c := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case c == nil || c.ObservedGeneration != cfg.Generation:
		return errors.New("the NetworkConfig has not been seen")
	case c.Status != metav1.ConditionTrue:
		return fmt.Errorf("%s: %s", c.Reason, c.Message)
	}
	return nil
}
