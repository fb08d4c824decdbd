package controller

import (
	"context"
	"fmt"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestOldConfigGoesOn: while a spec is refused, the cluster runs by the one before: nodes join, go, and come back.
func TestOldConfigGoesOn(t *testing.T) {
	c := newCluster(t)
	stop := c.startController()
	c.startAgents()
	c.apply(plain + "subnetMin: 10.244.7.0\ninterface: {overrides: [{nodeSelector: {matchLabels: {zone: a}}, names: [eth7]}]}")
	c.nodes(1)
	c.condition("Ready", "True", "Ready")
	c.apply(plain + "subnetMin: 10.244.20.0\nmtu: 1400")
	c.condition("Stalled", "True", v1alpha1.ReasonRangeInUse, "10.244.7.0-24")
	stop()
	c.startController()
	c.node("n2", address(2))
	if got := c.bound(2)["n2"]; got != "10.244.8.0/24" {
		t.Errorf("n2 has %s, want the next of the range in effect", got)
	}
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}
	n.APIVersion, n.Kind = "v1", "Node"
	if err := c.Patch(context.Background(), n, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"zone":"a"}}}`))); err != nil {
		t.Fatal(err)
	}
	c.eventually("interface rules in effect", func() error {
		nn, err := c.nodeNetwork("n2")
		if err != nil {
			return err
		}
		if got := nn.Spec.Revisions[0].Interface.Names; !slices.Equal(got, []string{"eth7"}) || nn.Spec.Revisions[0].MTU != 0 {
			return fmt.Errorf("n2 has the rules %v and MTU %d", got, nn.Spec.Revisions[0].MTU)
		}
		return nil
	})
	c.condition("Stalled", "True", v1alpha1.ReasonRangeInUse)
}

// TestSettings: what needs no rollout reaches every node at once.
func TestSettings(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(2)
	c.condition("Ready", "True", "Ready")
	revision := c.config().Status.ActiveRevision
	c.apply(plain + "retentionSeconds: 77\nipMasq: {mode: Disabled, nonMasqueradeCIDRs: [192.168.0.0/16]}\ncni: {hairpinMode: Disabled, plugins: [{type: bandwidth, config: {capabilities: {bandwidth: true}}}]}")
	c.eventually("settings", func() error {
		for _, nn := range c.nodeNetworks() {
			s := nn.Spec
			if s.RetentionSeconds != 77 || s.IPMasq.Mode != v1alpha1.Disabled || len(s.IPMasq.NonMasqueradeCIDRs) != 1 ||
				s.CNI.HairpinMode != v1alpha1.Disabled || len(s.CNI.Plugins) != 1 || s.CNI.PortMappings != v1alpha1.Enabled {
				return fmt.Errorf("%s has %+v", nn.Name, s)
			}
		}
		return nil
	})
	c.condition("Ready", "True", "Ready")
	c.everyNode([]string{revision}, revision)
}

// TestPolicyMissing: without the admission policy hopsack works, and says that agents are not confined.
func TestPolicyMissing(t *testing.T) {
	c := newCluster(t)
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: "hopsack-nodenetworks"}, binding); err != nil {
		t.Fatal(err)
	}
	c.delete(binding)
	binding.ResourceVersion, binding.UID = "", ""
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := c.Create(context.Background(), binding); err != nil {
				t.Errorf("restore binding: %v", err)
			}
		}
	}
	t.Cleanup(restore)
	c.startController()
	c.startAgents()
	c.apply(plain)
	c.nodes(1)
	c.condition("Ready", "True", "Ready")
	c.condition("Stalled", "False", "NotStalled")
	c.condition(v1alpha1.ConditionAgentsConfined, "False", v1alpha1.ReasonAdmissionPolicyMissing, "ValidatingAdmissionPolicyBinding hopsack-nodenetworks")
	c.eventually("event", func() error { return c.hasEvent(v1alpha1.ReasonAdmissionPolicyMissing, "config/admission") })
	restore()
	c.condition(v1alpha1.ConditionAgentsConfined, "True", v1alpha1.ReasonConfined) // within 15 s
}
