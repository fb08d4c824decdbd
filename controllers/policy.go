package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// How long the answer is good: a policy that is missing is about to be installed, one that is there stays.
const policyGood, policyMissing = 5 * time.Minute, 15 * time.Second

// policyCheck looks now and then whether agents are confined to their own NodeNetwork. The controller may read these two
// objects and no other policy, so it asks instead of watching.
type policyCheck struct {
	name   string // of the policy and of its binding (config/admission, renamed or not)
	until  time.Time
	answer plan.Problem
}

func (c *policyCheck) check(ctx context.Context, live client.Reader, now time.Time) plan.Problem {
	if now.Before(c.until) {
		return c.answer
	}
	missing, err := findPolicy(ctx, live, c.name)
	good := policyMissing
	switch {
	case err != nil:
		c.answer = plan.Problem{Reason: v1alpha1.ReasonAdmissionPolicyUnknown, Message: err.Error()}
	case missing != "":
		c.answer = plan.Problem{Reason: v1alpha1.ReasonAdmissionPolicyMissing, Message: missing +
			": every node's agent can write every node's NodeNetwork status; apply config/admission"}
	default:
		good = policyGood
		c.answer = plan.Problem{Reason: v1alpha1.ReasonConfined, Message: "the API server lets each agent write its own NodeNetwork status only"}
	}
	c.until = now.Add(good)
	return c.answer
}

// findPolicy says what is missing, "" for nothing.
func findPolicy(ctx context.Context, live client.Reader, name string) (string, error) {
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	for _, obj := range []client.Object{&policy, &binding} {
		err := live.Get(ctx, client.ObjectKey{Name: name}, obj)
		kind := "ValidatingAdmissionPolicy"
		if obj == client.Object(&binding) {
			kind += "Binding"
		}
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			return fmt.Sprintf("%s %s is missing", kind, name), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s %s: %w", kind, name, err)
		}
	}
	if policy.Spec.FailurePolicy != nil && *policy.Spec.FailurePolicy != admissionv1.Fail {
		return fmt.Sprintf("ValidatingAdmissionPolicy %s does not fail closed", name), nil
	}
	if binding.Spec.PolicyName != name || !slices.Contains(binding.Spec.ValidationActions, admissionv1.Deny) {
		return fmt.Sprintf("ValidatingAdmissionPolicyBinding %s does not deny what %s forbids", name, name), nil
	}
	return "", nil
}
