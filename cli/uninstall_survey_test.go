package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestSaysClean: only a report about this spec, this machine and this boot confirms.
func TestSaysClean(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.NodeNetwork)
		want   bool
	}{
		"clean":           {func(*v1alpha1.NodeNetwork) {}, true},
		"older spec":      {func(n *v1alpha1.NodeNetwork) { n.Generation = 3 }, false},
		"another machine": {func(n *v1alpha1.NodeNetwork) { n.Status.NodeUID = "u0" }, false},
		"for another one": {func(n *v1alpha1.NodeNetwork) { n.Spec.NodeUID = "u0" }, false},
		"older boot":      {func(n *v1alpha1.NodeNetwork) { n.Status.BootID = "b0" }, false},
		"not ready":       {func(n *v1alpha1.NodeNetwork) { n.Status.Conditions[0].Reason = "Unproven" }, false},
		"silent":          {func(n *v1alpha1.NodeNetwork) { n.Status.Conditions = nil }, false},
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: "u1"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{BootID: "b1"}}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: v1alpha1.NodeNetworkSpec{NodeUID: "u1"},
				Status: v1alpha1.NodeNetworkStatus{ObservedGeneration: 2, NodeUID: "u1", BootID: "b1",
					Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCleanedUp}}}}
			tt.change(nn)
			if got := saysClean(nn, node); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
