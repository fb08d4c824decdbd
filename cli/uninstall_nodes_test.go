package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Another network's condition is not ours to take away.
func TestOwnCondition(t *testing.T) {
	for name, tc := range map[string]struct {
		reason    string
		networked bool
		want      bool
	}{
		"clean":                 {reason: v1alpha1.ReasonCleanedUp, want: true},
		"up, though it is gone": {reason: "HopsackIsUp", want: true},
		"an agent's reason":     {reason: v1alpha1.ReasonForeignRoute, networked: true, want: true},
		"another network's":     {reason: "CalicoIsUp"},
		"none":                  {networked: true},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{}
			if tc.reason != "" {
				node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Reason: tc.reason}}
			}
			if got := ownCondition(node, tc.networked); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
