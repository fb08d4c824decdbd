package crd

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// objectCase is one object in testdata and the messages it is refused with.
type objectCase struct {
	Title  string          `json:"title"`
	Name   string          `json:"name,omitempty"` // of the object; absent: "default"
	Old    json.RawMessage `json:"old,omitempty"`  // spec before the change; absent: the object is new
	Spec   json.RawMessage `json:"spec"`
	Status json.RawMessage `json:"status,omitempty"`
	Want   []string        `json:"want,omitempty"` // nil: accepted
}

// object returns the case's object with the given spec and status.
func (c objectCase) object(t *testing.T, kind string, spec, status json.RawMessage) object {
	t.Helper()
	name := c.Name
	if name == "" {
		name = "default"
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "net.hopsack.dev/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name},
		"spec": spec, "status": status,
	})
	if err != nil {
		t.Fatalf("%s: %v", c.Title, err)
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatalf("%s: %v", c.Title, err)
	}
	for _, part := range []string{"spec", "status"} {
		if u.Object[part] == nil {
			delete(u.Object, part)
		}
	}
	return u.Object
}

// TestObjects sends every object in testdata through the validators of its kind.
func TestObjects(t *testing.T) {
	kinds := map[string]string{"networkconfigs": "NetworkConfig", "subnetleases": "SubnetLease", "nodenetworks": "NodeNetwork"}
	for _, plural := range plurals() {
		v := newKindValidator(t, plural)
		var cases []objectCase
		readYAML(t, filepath.Join("test/crd/testdata", plural+".yaml"), &cases)
		for _, tc := range cases {
			t.Run(plural+"/"+tc.Title, func(t *testing.T) {
				obj := tc.object(t, kinds[plural], tc.Spec, tc.Status)
				var got []string
				if tc.Old == nil {
					got = v.create(t, obj)
				} else {
					got = v.update(t, obj, tc.object(t, kinds[plural], tc.Old, nil))
				}
				if diff := cmp.Diff(tc.Want, got); diff != "" {
					t.Errorf("messages (-want +got):\n%s", diff)
				}
			})
		}
	}
}
