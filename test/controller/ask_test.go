package controller

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan/rollout"
)

// revision is the name of what a spec asks for.
func (c *cluster) revision(spec string) string {
	c.t.Helper()
	cfg := &v1alpha1.NetworkConfig{}
	if err := yaml.UnmarshalStrict([]byte(spec), &cfg.Spec); err != nil {
		c.t.Fatal(err)
	}
	parsed, err := network.FromAPI(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return rollout.Target(parsed).ID
}

// started has three nodes up with vxlan, and returns what plays their agents.
func (c *cluster) started(nodes int) *agents {
	c.t.Helper()
	a := c.startAgents()
	c.apply(plain)
	c.nodes(nodes)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.kstatus(status.CurrentStatus)
	return a
}

// kstatus asks the library that GitOps tools use.
func (c *cluster) kstatus(want status.Status) {
	c.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("NetworkConfig"))
	if err := c.Get(context.Background(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, u); err != nil {
		c.t.Fatalf("get networkconfig: %v", err)
	}
	got, err := status.Compute(u)
	if err != nil {
		c.t.Fatalf("kstatus: %v", err)
	}
	if got.Status != want {
		c.t.Errorf("kstatus says %s (%s), want %s", got.Status, got.Message, want)
	}
}

// phase waits until a rollout is that far.
func (c *cluster) phase(want v1alpha1.RolloutPhase) *v1alpha1.RolloutStatus {
	c.t.Helper()
	var got *v1alpha1.RolloutStatus
	c.eventually("phase", func() error {
		cfg := c.config()
		if got = cfg.Status.Rollout; got == nil || got.Phase != want || cfg.Status.ObservedGeneration != cfg.Generation {
			return fmt.Errorf("rollout is %+v, want phase %s", got, want)
		}
		return nil
	})
	return got
}

// say puts an annotation on the NetworkConfig; "" takes it off.
func (c *cluster) say(annotation, value string) {
	c.t.Helper()
	text := fmt.Sprintf("%q", value)
	if value == "" {
		text = "null"
	}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, annotation, text))
	if err := c.Patch(context.Background(), c.config(), patch); err != nil {
		c.t.Fatalf("annotate networkconfig: %v", err)
	}
}

// history waits for the newest records of history: "backend outcome".
func (c *cluster) history(want ...string) {
	c.t.Helper()
	c.eventually("history", func() error {
		var got []string
		for _, r := range c.config().Status.History {
			got = append(got, string(r.Backend.Type)+" "+string(r.Outcome))
		}
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			return fmt.Errorf("it says %q, want %q first", got, want)
		}
		return nil
	})
}

// transmits counts the nodes that are asked to send with a revision.
func (c *cluster) transmits(revision string) (count int) {
	c.t.Helper()
	for _, nn := range c.nodeNetworks() {
		if nn.Spec.Transmit == revision {
			count++
		}
	}
	return count
}
