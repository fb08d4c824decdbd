package crd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestAgentRights: every node holds these credentials, so any more than this is a decision to be read here.
func TestAgentRights(t *testing.T) {
	var role rbacv1.ClusterRole
	readYAML(t, "config/rbac/agent_cluster_role.yaml", &role)
	group, read := []string{v1alpha1.GroupVersion.Group}, []string{"get", "list", "watch"}
	want := []rbacv1.PolicyRule{
		{APIGroups: group, Resources: []string{"subnetleases"}, Verbs: read},
		{APIGroups: group, Resources: []string{"nodenetworks"}, Verbs: read},
		{APIGroups: group, Resources: []string{"nodenetworks/status"}, Verbs: []string{"patch"}},
	}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("rules of the agent (-want +got):\n%s", diff)
	}
}

// TestControllerRights: no Secrets, no Pods, nothing of a Node but its status, no policy but the one it checks for.
func TestControllerRights(t *testing.T) {
	var role rbacv1.ClusterRole
	readYAML(t, "config/rbac/controller_cluster_role.yaml", &role)
	for _, rule := range role.Rules {
		for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
			for _, s := range list {
				if s == "*" || s == "secrets" || s == "pods" || s == "escalate" || s == "bind" || s == "impersonate" {
					t.Errorf("the controller has %q in %v", s, rule)
				}
			}
		}
		for _, resource := range rule.Resources {
			if resource == "nodes" {
				if diff := cmp.Diff([]string{"get", "list", "watch"}, rule.Verbs); diff != "" {
					t.Errorf("rights on nodes (-want +got):\n%s", diff)
				}
			}
			if resource == "validatingadmissionpolicies" {
				if diff := cmp.Diff([]string{v1alpha1.AdmissionPolicyName}, rule.ResourceNames); diff != "" {
					t.Errorf("readable policies (-want +got):\n%s", diff)
				}
			}
		}
	}
}
