package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// systemNamespace is where hopsack's service accounts live (config/rbac).
const systemNamespace = "hopsack-system"

const tokenLifetime = 24 * time.Hour

// register makes a node's Node object and the agent's credentials.
func (c *Cluster) register(ctx context.Context, n Node) error {
	api, err := c.Client()
	if err != nil {
		return err
	}
	boot, err := c.bootID(n.Name)
	if err != nil {
		return err
	}
	if err := ensureNode(ctx, api, n, boot); err != nil {
		return err
	}
	return c.issueCredentials(ctx, api, Agent(n.Name), "hopsack-agent", n.Name)
}

// unregister deletes what register made in the API. The Node goes last, as when an administrator deletes it.
func (c *Cluster) unregister(ctx context.Context, n Node) error {
	api, err := c.Client()
	if err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: processPod("hopsack-agent", n.Name)}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	// No kubelet would ever confirm a graceful deletion.
	for _, obj := range []client.Object{pod, node} {
		if err := api.Delete(ctx, obj, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s: %w", obj.GetName(), err)
		}
	}
	return removeFile(c.Credentials(Agent(n.Name)))
}

// ensureNode makes the Node object that a kubelet would have registered, with the status it would report.
func ensureNode(ctx context.Context, api client.Client, n Node, boot string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   n.Name,
		Labels: map[string]string{corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux"},
	}}
	if err := api.Create(ctx, node); err != nil {
		if !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create node %s: %w", n.Name, err)
		}
		if err := api.Get(ctx, client.ObjectKeyFromObject(node), node); err != nil {
			return fmt.Errorf("read node %s: %w", n.Name, err)
		}
	}
	before := node.DeepCopy()
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.Name}}
	for _, addr := range n.Addrs() {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	node.Status.NodeInfo.BootID = boot
	if !hasCondition(node, corev1.NodeReady) {
		now := metav1.Now()
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "LabNode", Message: "a network namespace; no kubelet runs here",
			LastHeartbeatTime: now, LastTransitionTime: now,
		})
	}
	// Merging by type and not replacing the list: the controller has a condition of its own here.
	if err := api.Status().Patch(ctx, node, client.StrategicMergeFrom(before)); err != nil {
		return fmt.Errorf("write status of node %s: %w", n.Name, err)
	}
	return nil
}

func hasCondition(node *corev1.Node, kind corev1.NodeConditionType) bool {
	for _, cond := range node.Status.Conditions {
		if cond.Type == kind {
			return true
		}
	}
	return false
}

func processPod(account, node string) string {
	if node == "" {
		return account
	}
	return account + "-" + node
}

// issueCredentials writes a kubeconfig with a service-account token, bound to a Pod on node so that the token carries the
// node's name. An empty node is for a process that runs beside the control plane.
func (c *Cluster) issueCredentials(ctx context.Context, api client.Client, component, account, node string) error {
	pod, err := ensureProcessPod(ctx, api, account, node)
	if err != nil {
		return err
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: account}}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(tokenLifetime.Seconds())),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if err := api.SubResource("token").Create(ctx, sa, req); err != nil {
		return fmt.Errorf("request token of %s for %s: %w", account, component, err)
	}
	path := c.Credentials(component)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return c.writeKubeconfig(path, &clientcmdapi.AuthInfo{Token: req.Status.Token})
}

// ensureProcessPod makes the Pod object that stands for a process of the lab.
func ensureProcessPod(ctx context.Context, api client.Client, account, node string) (*corev1.Pod, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: processPod(account, node),
			Labels: map[string]string{"app.kubernetes.io/name": account},
		},
		Spec: corev1.PodSpec{
			NodeName:                     node,
			HostNetwork:                  true,
			ServiceAccountName:           account,
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: account, Image: "lab/" + account}},
		},
	}
	err := api.Create(ctx, pod)
	if apierrors.IsAlreadyExists(err) {
		err = api.Get(ctx, client.ObjectKeyFromObject(pod), pod)
	}
	if err != nil {
		return nil, fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
	before := pod.DeepCopy()
	pod.Status.Phase = corev1.PodRunning
	if err := api.Status().Patch(ctx, pod, client.MergeFrom(before)); err != nil {
		return nil, fmt.Errorf("write status of pod %s: %w", pod.Name, err)
	}
	return pod, nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
