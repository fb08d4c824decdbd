package controllers

import (
	"context"
	"errors"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// electionReader answers every read with a Lease, and counts.
type electionReader struct {
	client.Reader
	holder *string
	err    error
	reads  int
}

func (r *electionReader) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	r.reads++
	obj.(*coordinationv1.Lease).Spec.HolderIdentity = r.holder
	return r.err
}

// TestClaim: what carries the own identity is written without asking; anything else only after the election's Lease was read,
// once in a pass, and names the controller.
func TestClaim(t *testing.T) {
	unreachable := errors.New("unreachable")
	for name, tc := range map[string]struct {
		identity, carries string
		holder            *string
		err               error
		reads             int
		want              error
		deposed           bool
	}{
		"no election":                 {"", "other", nil, nil, 0, nil, false},
		"mine":                        {"me", "me", nil, nil, 0, nil, false},
		"another's, elected":          {"me", "other", new("me"), nil, 1, nil, false},
		"nobody's, elected":           {"me", "", new("me"), nil, 1, nil, false},
		"another's, not elected":      {"me", "other", new("other"), nil, 1, errDeposed, true},
		"another's, nobody elected":   {"me", "other", nil, nil, 1, errDeposed, true},
		"another's, nobody can tell":  {"me", "other", new("me"), unreachable, 1, unreachable, false},
		"an identity with my as part": {"me", "me2", new("me2"), nil, 1, errDeposed, true},
	} {
		t.Run(name, func(t *testing.T) {
			reader := &electionReader{holder: tc.holder, err: tc.err}
			r := &Reconciler{Options: Options{Live: reader, Fence: Fence{Identity: tc.identity, Lease: types.NamespacedName{Name: "l"}}}}
			p := r.newPass(&snapshot{}, r.rested)
			for range 3 {
				nn := &v1alpha1.NodeNetwork{}
				nn.Annotations = map[string]string{v1alpha1.LeaderAnnotation: tc.carries}
				err := p.claim(t.Context(), nn)
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				if got := nn.Annotations[v1alpha1.LeaderAnnotation]; err == nil && tc.identity != "" && got != tc.identity {
					t.Errorf("it carries %q", got)
				}
			}
			if reader.reads != tc.reads || p.deposed.Load() != tc.deposed {
				t.Errorf("%d reads, deposed %v, want %d, %v", reader.reads, p.deposed.Load(), tc.reads, tc.deposed)
			}
		})
	}
}
