package crd

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

const nodeNameClaim = "authentication.kubernetes.io/node-name"

// policyFile is where the policy is; the binding lies beside it.
const policyFile = "config/admission/nodenetworks_policy.yaml"

// policyValidator compiles the policy in config/admission as the API server does.
func policyValidator(t *testing.T) validating.Validator {
	t.Helper()
	var policy admissionv1.ValidatingAdmissionPolicy
	readYAML(t, policyFile, &policy)

	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	withAuthorizer := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	var variables []cel.NamedExpressionAccessor
	for _, v := range policy.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: v.Name, Expression: v.Expression})
	}
	compiler.CompileAndStoreVariables(variables, withAuthorizer, environment.StoredExpressions)
	var rules, sentences []cel.ExpressionAccessor
	for _, v := range policy.Spec.Validations {
		rules = append(rules, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		sentences = append(sentences, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
	}
	v := validating.NewValidator(
		compiler.CompileCondition(rules, withAuthorizer, environment.StoredExpressions), nil,
		compiler.CompileCondition(nil, withAuthorizer, environment.StoredExpressions),
		compiler.CompileCondition(sentences, cel.OptionalVariableDeclarations{}, environment.StoredExpressions),
		policy.Spec.FailurePolicy, nil)
	if err := v.CompileError(); err != nil {
		t.Fatal(err)
	}
	return v
}

// mayUpdate answers the policy's question to the authorizer: may this user update nodenetworks?
func mayUpdate(name string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		asked := a.GetVerb() == "update" && a.GetAPIGroup() == "net.hopsack.dev" && a.GetResource() == "nodenetworks" &&
			a.GetSubresource() == "" && a.GetName() == ""
		if asked && a.GetUser().GetName() == name {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

// TestAdmissionPolicy sends writes of the NodeNetwork n1 through the policy. RBAC has let them pass, or would have.
func TestAdmissionPolicy(t *testing.T) {
	const agent, controller = "system:serviceaccount:hopsack-system:hopsack-agent", "whoever-is-the-controller"
	const foreign = "node n2 may write only its own NodeNetwork, not n1"
	const nobody = agent + " carries no authentication.kubernetes.io/node-name: NodeNetwork n1 is written by that node's agent only"
	v := policyValidator(t)
	for name, tc := range map[string]struct {
		user        string
		claim       []string
		operation   admission.Operation
		subresource string
		want        []string // nil: allowed
	}{
		"agent, own status":            {agent, []string{"n1"}, admission.Update, "status", nil},
		"agent, own spec":              {agent, []string{"n1"}, admission.Update, "", nil}, // RBAC's to refuse
		"agent, another node's status": {agent, []string{"n2"}, admission.Update, "status", []string{foreign}},
		"agent, another node's spec":   {agent, []string{"n2"}, admission.Update, "", []string{foreign}},
		"token without node":           {agent, nil, admission.Update, "status", []string{nobody}},
		"token with an empty node":     {agent, []string{""}, admission.Update, "status", []string{"node  may write only its own NodeNetwork, not n1"}},
		"two nodes in one token":       {agent, []string{"n1", "n2"}, admission.Update, "status", []string{nobody}},
		"prefix of the name":           {agent, []string{"n"}, admission.Update, "status", []string{"node n may write only its own NodeNetwork, not n1"}},
		"agent creates its own": {agent, []string{"n1"}, admission.Create, "",
			[]string{agent + " may not create NodeNetworks: that takes the right to update nodenetworks"}},
		"agent deletes its own": {agent, []string{"n1"}, admission.Delete, "",
			[]string{agent + " may not delete NodeNetworks: that takes the right to update nodenetworks"}},
		"controller, status":   {controller, nil, admission.Update, "status", nil},
		"controller, spec":     {controller, nil, admission.Update, "", nil},
		"controller creates":   {controller, nil, admission.Create, "", nil},
		"controller deletes":   {controller, nil, admission.Delete, "", nil},
		"controller on a node": {controller, []string{"n2"}, admission.Update, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			who := &user.DefaultInfo{Name: tc.user}
			if tc.claim != nil {
				who.Extra = map[string][]string{nodeNameClaim: tc.claim}
			}
			obj := decode(t, `{apiVersion: net.hopsack.dev/v1alpha1, kind: NodeNetwork, metadata: {name: n1}, spec: {}}`)
			var now, before runtime.Object = &unstructured.Unstructured{Object: obj}, &unstructured.Unstructured{Object: obj}
			switch tc.operation {
			case admission.Create:
				before = nil
			case admission.Delete:
				now = nil
			}
			gvk := v1alpha1.GroupVersion.WithKind("NodeNetwork")
			gvr := v1alpha1.GroupVersion.WithResource("nodenetworks")
			attributes := &admission.VersionedAttributes{
				Attributes: admission.NewAttributesRecord(now, before, gvk, "", "n1", gvr, tc.subresource, tc.operation,
					&metav1.UpdateOptions{}, false, who),
				VersionedObject: now, VersionedOldObject: before, VersionedKind: gvk,
			}
			result := v.Validate(t.Context(), gvr, attributes, nil, nil, celconfig.RuntimeCELCostBudget, mayUpdate(controller))
			var got []string
			for _, d := range result.Decisions {
				if d.Action == validating.ActionDeny {
					got = append(got, d.Message)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("refusals (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAdmissionPolicyIsBound: the policy has the name the controller looks for, matches every write, and denies.
func TestAdmissionPolicyIsBound(t *testing.T) {
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	readYAML(t, policyFile, &policy)
	readYAML(t, "config/admission/nodenetworks_policy_binding.yaml", &binding)

	if policy.Name != v1alpha1.AdmissionPolicyName || binding.Name != v1alpha1.AdmissionPolicyName ||
		binding.Spec.PolicyName != v1alpha1.AdmissionPolicyName {
		t.Errorf("policy %q, binding %q of %q, want %q everywhere", policy.Name, binding.Name, binding.Spec.PolicyName,
			v1alpha1.AdmissionPolicyName)
	}
	if f := policy.Spec.FailurePolicy; f == nil || *f != admissionv1.Fail {
		t.Errorf("failurePolicy is %v, want Fail", f)
	}
	deny := []admissionv1.ValidationAction{admissionv1.Deny}
	if diff := cmp.Diff(deny, binding.Spec.ValidationActions); diff != "" {
		t.Errorf("validationActions (-want +got):\n%s", diff)
	}
	want := admissionv1.Rule{
		APIGroups: []string{"net.hopsack.dev"}, APIVersions: []string{"*"},
		Resources: []string{"nodenetworks", "nodenetworks/status"},
	}
	rule := policy.Spec.MatchConstraints.ResourceRules[0]
	rule.Scope = nil
	if diff := cmp.Diff(want, rule.Rule); diff != "" {
		t.Errorf("matched resources (-want +got):\n%s", diff)
	}
	operations := []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Delete}
	if diff := cmp.Diff(operations, rule.Operations); diff != "" {
		t.Errorf("matched operations (-want +got):\n%s", diff)
	}
}
