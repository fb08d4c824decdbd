package crd

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
)

func plurals() []string { return []string{"networkconfigs", "subnetleases", "nodenetworks"} }

// TestCRDsAreAccepted runs all the API server checks when a CRD is applied: structure, list types, CEL compilation, and the
// estimated cost of every rule, which fails when a string or list it loops over has no bound.
func TestCRDsAreAccepted(t *testing.T) {
	for _, plural := range plurals() {
		t.Run(plural, func(t *testing.T) {
			crd := readCRD(t, plural)
			crd.Status.StoredVersions = []string{"v1alpha1"}
			for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), crd) {
				t.Error(err)
			}
		})
	}
}
