package controllers

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// StripNode is a cache transform: of a Node it keeps what the controller looks at, a few hundred bytes, so that memory and the
// comparison in nodeChanges do not grow with images, volumes and heartbeats.
func StripNode(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	out := &corev1.Node{
		TypeMeta: n.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp,
			DeletionTimestamp: n.DeletionTimestamp, Labels: n.Labels,
		},
		Spec:   corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: n.Status.Addresses, NodeInfo: corev1.NodeSystemInfo{BootID: n.Status.NodeInfo.BootID}},
	}
	if v, ok := n.Annotations[v1alpha1.PublicIPAnnotation]; ok {
		out.Annotations = map[string]string{v1alpha1.PublicIPAnnotation: v}
	}
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady: // how long it has been so tells whether a rollout waits for the node; why is nobody's business
			out.Status.Conditions = append(out.Status.Conditions, corev1.NodeCondition{
				Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			})
		case corev1.NodeNetworkUnavailable:
			out.Status.Conditions = append(out.Status.Conditions, corev1.NodeCondition{
				Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message,
			})
		}
	}
	return out, nil
}

// nodeChanges lets a change of a stripped Node pass only if it can change a plan: not a heartbeat, and not the wording of
// Ready.
func nodeChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		if !ok || !ok2 {
			return true
		}
		return before.UID != after.UID ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			!maps.Equal(before.Labels, after.Labels) ||
			!maps.Equal(before.Annotations, after.Annotations) ||
			!equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
			!equality.Semantic.DeepEqual(before.Status.Addresses, after.Status.Addresses) ||
			before.Status.NodeInfo.BootID != after.Status.NodeInfo.BootID ||
			!sameReady(nodeCondition(before, corev1.NodeReady), nodeCondition(after, corev1.NodeReady)) ||
			nodeCondition(before, corev1.NodeNetworkUnavailable) != nodeCondition(after, corev1.NodeNetworkUnavailable)
	}}
}

// sameReady compares what plans read of the condition: a heartbeat and another wording change neither.
func sameReady(a, b corev1.NodeCondition) bool {
	return a.Status == b.Status && a.LastTransitionTime.Equal(&b.LastTransitionTime)
}

// nodeCondition is the condition of a stripped Node, zero when it has none.
func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// reportChanges lets a change of a NodeNetwork pass if the plan reads what changed. Agents refresh other parts of their
// reports by the minute.
func reportChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.NodeNetwork)
		after, ok2 := e.ObjectNew.(*v1alpha1.NodeNetwork)
		if !ok || !ok2 {
			return true
		}
		return before.UID != after.UID ||
			before.Generation != after.Generation ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			!maps.Equal(before.Annotations, after.Annotations) ||
			!equality.Semantic.DeepEqual(readPart(before), readPart(after))
	}}
}

// readPart is the part of a report that plans read.
func readPart(n *v1alpha1.NodeNetwork) v1alpha1.NodeNetworkStatus {
	s := n.Status
	out := v1alpha1.NodeNetworkStatus{
		ObservedGeneration: s.ObservedGeneration, NodeUID: s.NodeUID, BootID: s.BootID, PublicIPs: s.PublicIPs,
		PreparedRevisions: s.PreparedRevisions, TransmitRevision: s.TransmitRevision,
		FailedRevision: s.FailedRevision, Verifications: s.Verifications,
	}
	for _, t := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSubnetsAssigned} {
		if c := meta.FindStatusCondition(s.Conditions, t); c != nil {
			out.Conditions = append(out.Conditions, *c)
		}
	}
	return out
}
