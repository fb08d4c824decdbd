package crd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"
)

const root = "../.." // the repository, seen from this package

// object is an API object as the API server has it after decoding.
type object = map[string]any

// kindValidator checks objects of one kind as kube-apiserver does on create and update.
type kindValidator struct {
	schema     validation.SchemaValidator
	structural *structuralschema.Structural
	cel        *cel.Validator
}

// newKindValidator builds the validator of the CRD config/crd/bases/net.hopsack.dev_<plural>.yaml.
func newKindValidator(t *testing.T, plural string) *kindValidator {
	t.Helper()
	crd := readCRD(t, plural)
	internal := crd.Spec.Validation
	schema, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("schema validator of %s: %v", plural, err)
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("structural schema of %s: %v", plural, err)
	}
	return &kindValidator{
		schema:     schema,
		structural: structural,
		cel:        cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}
}

// readCRD returns a generated CRD in internal form; having one version, its schema is in spec.validation.
func readCRD(t *testing.T, plural string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	var wire apiextensionsv1.CustomResourceDefinition
	readYAML(t, filepath.Join("config/crd/bases", "net.hopsack.dev_"+plural+".yaml"), &wire)
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&wire)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&wire.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&wire, &crd, nil); err != nil {
		t.Fatalf("convert CRD of %s: %v", plural, err)
	}
	return &crd
}

// readYAML reads a file of the repository, unknown keys refused.
func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// decode turns YAML into what the API server has after decoding (whole numbers are int64).
func decode(t *testing.T, text string) object {
	t.Helper()
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return u.Object
}

// create returns the messages a user gets who creates obj; none means accepted.
func (v *kindValidator) create(t *testing.T, obj object) []string {
	t.Helper()
	errs := apivalidation.ValidateObjectMetaAccessor(&unstructured.Unstructured{Object: obj}, false,
		apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, obj, v.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.structural, obj)...)
	if !blocksCEL(errs) {
		celErrs, _ := v.cel.Validate(t.Context(), nil, v.structural, obj, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, celErrs...)
	}
	return append(v.unknownFields(obj), messages(errs)...)
}

// update returns the messages a user gets who changes old into obj. What was there before and is wrong only by a newer
// rule is let through, as the API server does (ratcheting).
func (v *kindValidator) update(t *testing.T, obj, old object) []string {
	t.Helper()
	correlated := common.NewCorrelatedObject(obj, old, &model.Structural{Structural: v.structural})
	errs := validation.ValidateCustomResourceUpdate(nil, obj, old, v.schema, validation.WithRatcheting(correlated))
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.structural, obj)...)
	if !blocksCEL(errs) {
		celErrs, _ := v.cel.Validate(t.Context(), nil, v.structural, obj, old, celconfig.RuntimeCELCostBudget,
			cel.WithRatcheting(correlated))
		errs = append(errs, celErrs...)
	}
	return append(v.unknownFields(obj), messages(errs)...)
}

// unknownFields reports what kubectl's strict decoding refuses.
func (v *kindValidator) unknownFields(obj object) []string {
	pruned := unstructured.Unstructured{Object: obj}
	var out []string
	for _, path := range structuralpruning.PruneWithOptions(pruned.DeepCopy().Object, v.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, `unknown field "`+path+`"`)
	}
	return out
}

// blocksCEL says whether the API server leaves out the CEL rules because a value is absent or of the wrong shape. It says so
// in one more sentence ("some validation rules were not checked"), which is always the same and left out here.
func blocksCEL(errs field.ErrorList) bool {
	blocking := []field.ErrorType{field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
		field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid}
	return slices.ContainsFunc(errs, func(e *field.Error) bool { return slices.Contains(blocking, e.Type) })
}

func messages(errs field.ErrorList) []string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}
