package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// kubeletSettings are the flags of the cases on clusters with kubelets.
type kubeletSettings struct {
	// rate is requests per second of each kind of client.
	rate float64
	// dark is how long the control plane is stopped.
	dark time.Duration
}

func (k *kubeletSettings) flags() {
	flag.Float64Var(&k.rate, "rate", 500, "kubelet-load: requests per second of each kind of client")
	flag.DurationVar(&k.dark, "dark", 2*time.Minute, "kubelet-operate: how long the control plane is stopped")
}

func kubeletCases() []benchCase {
	return []benchCase{
		{
			name: "kubelet-start", what: "from nothing to pods with a network and names, with Helm and with kustomize (runs only when named)",
			asked: true, alone: benchKubeletStart,
		},
		{
			name: "kubelet-load", what: "change backends under HTTP load on real pods and Services (runs only when named)",
			asked: true, alone: onKubelets(benchKubeletLoad),
		},
		{
			name: "kubelet-operate", what: "upgrade, delete all pods, turn a node off, stop the control plane (runs only when named)",
			asked: true, alone: onKubelets(benchKubeletOperate),
		},
		{
			name: "kubelet-pods", what: "fill a node with 110 pods and empty it again (runs only when named)",
			asked: true, alone: onKubelets(benchKubeletPods),
		},
		{
			name: "kubelet-idle", what: "agents and controllers with nothing to do (runs only when named)",
			asked: true, alone: onKubelets(benchKubeletIdle),
		},
	}
}

// startKubelets starts a cluster whose nodes have the images of this version and of the next.
func startKubelets(ctx context.Context) (*cluster.Cluster, error) {
	root, err := cluster.FindRoot()
	if err != nil {
		return nil, err
	}
	next := filepath.Join(root, "bin", "images", "next")
	return cluster.Start(ctx, cluster.Options{
		Images: []string{filepath.Join(next, "hopsack-agent.tar"), filepath.Join(next, "hopsack-controller.tar")}, Out: prefixed{},
	})
}

// onKubelets makes a case of one that runs on a cluster where hopsack is installed and its network in effect. The cluster goes
// with the case.
func onKubelets(run func(context.Context, settings, *cluster.Cluster) error) func(context.Context, settings) error {
	return func(ctx context.Context, s settings) (err error) {
		c, err := startKubelets(ctx)
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				say("%s", c.Describe(ctx))
			}
			err = errors.Join(err, c.Down(ctx))
		}()
		if err := c.Install(ctx, ""); err != nil {
			return err
		}
		if err := c.Network(ctx, c.Sample("networkconfig.yaml")); err != nil {
			return err
		}
		return run(ctx, s, c)
	}
}

// worldOf is the cluster as the scenarios of changes have it.
func worldOf(c *cluster.Cluster) (*rollout.World, error) {
	return rollout.New(c.Cluster, func(format string, args ...any) { say("  "+format, args...) })
}

// threePods are a pod on every node.
func threePods(ctx context.Context, c *cluster.Cluster) error {
	return c.Pods(ctx, "p1@n1", "p2@n2", "p3@n3")
}

// stages are seconds, by what was reached, each since the one before.
type stages struct {
	last  time.Time
	names []string
	took  map[string]float64
}

func newStages() *stages { return &stages{last: time.Now(), took: map[string]float64{}} }

// reached ends a stage.
func (s *stages) reached(name string) {
	now := time.Now()
	s.names = append(s.names, name)
	s.took[name] = round(now.Sub(s.last).Seconds(), 1)
	say("  %s after %.1f s", name, s.took[name])
	s.last = now
}

// MarshalJSON keeps their order.
func (s *stages) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, name := range s.names {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, "%q:%v", name, s.took[name])
	}
	return append(out, '}'), nil
}
