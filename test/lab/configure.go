package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// configure applies the NetworkConfig and waits until every node reports a working network.
func (c *Cluster) configure(ctx context.Context, o Options) error {
	raw, err := os.ReadFile(o.ConfigFile)
	if err != nil {
		return err
	}
	out, err := c.Apply(ctx, string(raw))
	if err != nil {
		return err
	}
	c.say("%s", strings.TrimSpace(out))
	timeout := o.ConfigTimeout
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		return err
	}
	c.say("network: ready on every node")
	return nil
}

// WaitReady waits until the NetworkConfig and the NodeNetwork of every node are Ready for their current generation. When
// ctx ends first the error lists what each of them says of itself.
func (c *Cluster) WaitReady(ctx context.Context) error {
	api, err := c.Client()
	if err != nil {
		return err
	}
	nodes, err := c.Nodes()
	if err != nil {
		return err
	}
	return c.Wait(ctx, "the network to be ready", func() (bool, error) {
		problems, err := notReady(ctx, api, nodes)
		if err == nil && len(problems) > 0 {
			err = errors.New(strings.Join(problems, "\n"))
		}
		return err == nil, err
	})
}

// notReady describes every object that keeps the network from being ready.
func notReady(ctx context.Context, api client.Client, nodes []Node) ([]string, error) {
	// The context of a wait ends while there is still something to report.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	var problems []string
	var cfg v1alpha1.NetworkConfig
	if err := api.Get(ctx, client.ObjectKey{Name: v1alpha1.NetworkConfigName}, &cfg); err != nil {
		return nil, err
	}
	problems = append(problems, describe("networkconfig "+cfg.Name, cfg.Generation, cfg.Status.Conditions)...)
	for _, n := range nodes {
		var nn v1alpha1.NodeNetwork
		if err := api.Get(ctx, client.ObjectKey{Name: n.Name}, &nn); err != nil {
			problems = append(problems, fmt.Sprintf("nodenetwork %s: %v", n.Name, err))
			continue
		}
		problems = append(problems, describe("nodenetwork "+n.Name, nn.Generation, nn.Status.Conditions)...)
	}
	return problems, nil
}

// describe returns nothing for an object that is Ready in its current generation, else one line with all its conditions.
func describe(name string, generation int64, conditions []metav1.Condition) []string {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration >= generation {
		return nil
	}
	if len(conditions) == 0 {
		return []string{name + ": no conditions yet"}
	}
	var parts []string
	for _, cond := range conditions {
		text := fmt.Sprintf("%s=%s (%s)", cond.Type, cond.Status, cond.Reason)
		if cond.ObservedGeneration < generation {
			text += " for an older generation"
		}
		if cond.Message != "" {
			text += ": " + cond.Message
		}
		parts = append(parts, text)
	}
	return []string{name + ": " + strings.Join(parts, "; ")}
}
