package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// A report counts for the machine that wrote it and the spec it answers, for no other.
func TestReportCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		node           string // UID of the Node that exists
		change         func(*v1alpha1.NodeNetwork)
		known, current bool
	}{
		"of this node and spec":      {"uid", func(*v1alpha1.NodeNetwork) {}, true, true},
		"of an earlier spec":         {"uid", func(n *v1alpha1.NodeNetwork) { n.Generation++ }, true, false},
		"of the machine before":      {"uid", func(n *v1alpha1.NodeNetwork) { n.Status.NodeUID = "old" }, false, true},
		"spec of the machine before": {"uid", func(n *v1alpha1.NodeNetwork) { n.Spec.NodeUID = "old" }, false, true},
		"both before":                {"uid", func(n *v1alpha1.NodeNetwork) { n.Spec.NodeUID, n.Status.NodeUID = "old", "old" }, false, true},
		"no report":                  {"uid", func(n *v1alpha1.NodeNetwork) { n.Status = v1alpha1.NodeNetworkStatus{} }, false, false},
		"no Node":                    {"", func(n *v1alpha1.NodeNetwork) { n.Spec.NodeUID, n.Status.NodeUID = "", "" }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			nn := &v1alpha1.NodeNetwork{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", Generation: 7},
				Spec:       v1alpha1.NodeNetworkSpec{NodeUID: "uid"},
				Status:     v1alpha1.NodeNetworkStatus{NodeUID: "uid", ObservedGeneration: 7},
			}
			tc.change(nn)
			if got := parseReport(nn, tc.node); got.Known != tc.known || got.Current != tc.current {
				t.Errorf("got known %t, current %t, want %t, %t", got.Known, got.Current, tc.known, tc.current)
			}
		})
	}
}
