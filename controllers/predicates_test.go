package controllers

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// kubeletNode is a Node as kubelets make them.
func kubeletNode() *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n1", UID: "u1", ResourceVersion: "1", Labels: map[string]string{"zone": "a"},
			Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true", v1alpha1.PublicIPAnnotation: "192.0.2.9"},
		},
		Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24", ProviderID: "cloud://1"},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "kubelet is posting ready status"},
			},
		},
	}
	for range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{"registry.example.com/some/image@sha256:0123456789abcdef"}, SizeBytes: 1 << 30})
	}
	return n
}

func strip(t *testing.T, n *corev1.Node) *corev1.Node {
	t.Helper()
	out, err := StripNode(n)
	if err != nil {
		t.Fatal(err)
	}
	return out.(*corev1.Node)
}

func TestStripNode(t *testing.T) {
	b, err := json.Marshal(strip(t, kubeletNode()))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 700 {
		t.Errorf("a stripped Node takes %d bytes: %s", len(b), b)
	}
	n := parseNode(strip(t, kubeletNode()))
	if len(n.InternalIPs) != 1 || len(n.PublicIPs) != 1 || len(n.PodCIDRs) != 1 || !n.Ready || n.Labels["zone"] != "a" {
		t.Errorf("parsed from it: %+v", n)
	}
}

func TestNodeChanges(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Node)
		passes bool
	}{
		"heartbeat": {func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions[1].LastHeartbeatTime = metav1.NewTime(time.Unix(9, 0))
		}, false},
		"images":               {func(n *corev1.Node) { n.Status.Images = nil }, false},
		"other annotation":     {func(n *corev1.Node) { n.Annotations["a"] = "b" }, false},
		"other condition":      {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }, false},
		"wording of Ready":     {func(n *corev1.Node) { n.Status.Conditions[1].Message = "still ready" }, false},
		"Ready":                {func(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionUnknown }, true},
		"Ready since":          {func(n *corev1.Node) { n.Status.Conditions[1].LastTransitionTime = metav1.NewTime(time.Unix(9, 0)) }, true},
		"reboot":               {func(n *corev1.Node) { n.Status.NodeInfo.BootID = "b2" }, true},
		"kernel":               {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "7.0" }, false},
		"address":              {func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.0.2.2" }, true},
		"podCIDR":              {func(n *corev1.Node) { n.Spec.PodCIDR = "10.244.1.0/24" }, true},
		"label":                {func(n *corev1.Node) { n.Labels = map[string]string{"zone": "b"} }, true},
		"public-ip annotation": {func(n *corev1.Node) { delete(n.Annotations, v1alpha1.PublicIPAnnotation) }, true},
		"made anew":            {func(n *corev1.Node) { n.UID = "u2" }, true},
		"being deleted":        {func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)} }, true},
		"NetworkUnavailable": {func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			after := kubeletNode()
			tc.change(after)
			if got := nodeChanges().Update(event.UpdateEvent{ObjectOld: strip(t, kubeletNode()), ObjectNew: strip(t, after)}); got != tc.passes {
				t.Errorf("passes: %v, want %v", got, tc.passes)
			}
		})
	}
}

func TestReportChanges(t *testing.T) {
	base := &v1alpha1.NodeNetwork{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Generation: 2},
		Status: v1alpha1.NodeNetworkStatus{
			ObservedGeneration: 2, MTU: 1450,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady}},
		},
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.NodeNetwork)
		passes bool
	}{
		"nothing": {func(*v1alpha1.NodeNetwork) {}, false},
		"MTU":     {func(n *v1alpha1.NodeNetwork) { n.Status.MTU = 1400 }, false},
		"other condition": {func(n *v1alpha1.NodeNetwork) {
			n.Status.Conditions = append(n.Status.Conditions, metav1.Condition{Type: "Programmed"})
		}, false},
		"spec":     {func(n *v1alpha1.NodeNetwork) { n.Generation++ }, true},
		"observed": {func(n *v1alpha1.NodeNetwork) { n.Status.ObservedGeneration = 1 }, true},
		"address":  {func(n *v1alpha1.NodeNetwork) { n.Status.PublicIPs = []string{"192.0.2.1"} }, true},
		"Ready":    {func(n *v1alpha1.NodeNetwork) { n.Status.Conditions[0].Status = metav1.ConditionFalse }, true},
		"prepared": {func(n *v1alpha1.NodeNetwork) { n.Status.PreparedRevisions = []string{"a"} }, true},
		"reboot":   {func(n *v1alpha1.NodeNetwork) { n.Status.BootID = "b2" }, true},
		"verified": {func(n *v1alpha1.NodeNetwork) { n.Status.Verifications = []v1alpha1.Verification{{Revision: "a"}} }, true},
		"failed":   {func(n *v1alpha1.NodeNetwork) { n.Status.FailedRevision = &v1alpha1.FailedRevision{Revision: "a"} }, true},
		"leader":   {func(n *v1alpha1.NodeNetwork) { n.Annotations = map[string]string{v1alpha1.LeaderAnnotation: "other"} }, true},
		"paths":    {func(n *v1alpha1.NodeNetwork) { n.Status.Paths = &v1alpha1.PathCounts{Direct: 1} }, false},
		"check":    {func(n *v1alpha1.NodeNetwork) { n.Status.Check = &v1alpha1.CheckResult{Request: "1"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := base.DeepCopy()
			tc.change(after)
			if got := reportChanges().Update(event.UpdateEvent{ObjectOld: base, ObjectNew: after}); got != tc.passes {
				t.Errorf("passes: %v, want %v", got, tc.passes)
			}
		})
	}
}
