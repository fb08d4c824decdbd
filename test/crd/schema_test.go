package crd

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
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

// TestEveryFieldIsBounded walks what users and the controller write: a string, list or number without bounds is an object that
// may grow without end, and a rule over it that the API server may refuse for its cost.
func TestEveryFieldIsBounded(t *testing.T) {
	for _, plural := range plurals() {
		t.Run(plural, func(t *testing.T) {
			schema := readCRD(t, plural).Spec.Validation.OpenAPIV3Schema
			for _, path := range unbounded("spec", schema.Properties["spec"]) {
				t.Errorf("%s has no bounds", path)
			}
		})
	}
}

// unbounded returns the paths below s that lack a bound. Label selectors are Kubernetes' own type and bounded by the size of
// an object; what is left open on purpose (a plugin's own keys) is too.
func unbounded(path string, s apiextensions.JSONSchemaProps) []string {
	if strings.HasSuffix(path, ".nodeSelector") || strings.HasSuffix(path, ".canary") || s.XPreserveUnknownFields != nil {
		return nil
	}
	var out []string
	switch {
	case s.Type == "string" && s.MaxLength == nil && s.Enum == nil,
		s.Type == "array" && s.MaxItems == nil,
		s.Type == "integer" && (s.Minimum == nil || s.Maximum == nil),
		s.Type == "number", s.AdditionalProperties != nil:
		out = append(out, path)
	}
	if s.Items != nil && s.Items.Schema != nil {
		out = append(out, unbounded(path+"[]", *s.Items.Schema)...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		out = append(out, unbounded(path+"."+name, s.Properties[name])...)
	}
	return out
}

// TestNoDefaults: a schema default shows as drift between git and cluster, so there is none. The one of a whole status does not:
// nobody has a status in git.
func TestNoDefaults(t *testing.T) {
	for _, plural := range plurals() {
		data, err := os.ReadFile(filepath.Join(root, "config/crd/bases", "net.hopsack.dev_"+plural+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		for i, line := range lines {
			ofStatus := i > 0 && lines[i-1] == "          status:"
			if strings.HasPrefix(strings.TrimSpace(line), "default:") && !ofStatus {
				t.Errorf("%s, line %d: %s", plural, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// TestNames holds what users type and what the documentation shows.
func TestNames(t *testing.T) {
	for plural, want := range map[string]struct {
		short     string
		columns   []string
		selectors []string
	}{
		"networkconfigs": {"netcfg", []string{"NETWORK", "BACKEND", "DIRECT", "READY", "REASON", "ROLLOUT", "NODES", "NODES-READY", "FREE", "AGE",
			"MESSAGE"}, []string{".spec.backend.type"}},
		"subnetleases": {"sl", []string{"NODE", "SUBNET", "PUBLIC-IP", "BACKEND", "VTEP-MAC", "STATE", "AGE", "MESSAGE"},
			[]string{".spec.nodeName"}},
		"nodenetworks": {"nn", []string{"SUBNETS", "INTERFACE", "PUBLIC-IP", "MTU", "TRANSMIT", "READY", "REASON", "AGE", "MESSAGE"},
			[]string{".spec.transmit"}},
	} {
		t.Run(plural, func(t *testing.T) {
			spec := readCRD(t, plural).Spec
			var columns, selectors []string
			for _, c := range spec.AdditionalPrinterColumns {
				columns = append(columns, c.Name)
			}
			for _, s := range spec.SelectableFields {
				selectors = append(selectors, s.JSONPath)
			}
			for _, diff := range []string{
				cmp.Diff([]string{want.short}, spec.Names.ShortNames), cmp.Diff([]string{"hopsack"}, spec.Names.Categories),
				cmp.Diff(want.columns, columns), cmp.Diff(want.selectors, selectors),
			} {
				if diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestSamplesAreAccepted: what the quick start applies must be valid.
func TestSamplesAreAccepted(t *testing.T) {
	for file, plural := range map[string]string{
		"networkconfig.yaml": "networkconfigs", "networkconfig-direct.yaml": "networkconfigs",
		"networkconfig-vni.yaml": "networkconfigs", "networkconfig-udp.yaml": "networkconfigs",
		"subnetlease-reservation.yaml": "subnetleases",
	} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(root, "config/samples", file))
			if err != nil {
				t.Fatal(err)
			}
			if got := newKindValidator(t, plural).create(t, decode(t, string(data))); got != nil {
				t.Errorf("refused: %q", got)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(root, "config/samples/*.yaml"))
	if err != nil || len(files) != 6 {
		t.Errorf("config/samples has %d files, want the 5 above and kustomization.yaml (%v)", len(files), err)
	}
}
