package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options says what Up builds.
type Options struct {
	// Nodes is the number of nodes; 0: what the lab has, else 3.
	Nodes int
	// Routed is how many of them, the last ones, have a segment of their own behind the router; -1: what the lab has, else 1
	// (0 when there is one node only).
	Routed int
	// ConfigFile is a NetworkConfig to apply once everything runs; Up then waits until the network works on every node.
	ConfigFile string
	// ConfigTimeout bounds that wait; 0: one minute.
	ConfigTimeout time.Duration
	// AgentArgs and ControllerArgs are added to the command lines, for example "-v=1"; nil: what the lab has.
	AgentArgs      []string
	ControllerArgs []string
	// Kubelet makes it a lab with real nodes, on which Up starts nothing of hopsack and applies none of its manifests; nil: what
	// the lab is, else one without.
	Kubelet *KubeletOptions
}

// Up builds the lab, or what is missing of it, and returns once the API answers, the project's manifests are applied and
// controller and agents are healthy. With a ConfigFile it also waits until every NodeNetwork is Ready.
func (c *Cluster) Up(ctx context.Context, o Options) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.preflight(o); err != nil {
		return err
	}
	if err := c.claim(); err != nil {
		return err
	}
	s, err := c.plan(o)
	if err != nil {
		return err
	}
	if err := c.buildMachines(ctx, s); err != nil {
		return err
	}
	if s.Kubelet != nil {
		return c.startKubernetes(ctx, s)
	}
	// While the API server starts: rendering needs none.
	manifests, err := c.renderManifests(ctx)
	if err != nil {
		return err
	}
	if err := c.awaitControlPlane(ctx, s); err != nil {
		return err
	}
	if err := c.applyManifests(ctx, manifests); err != nil {
		return err
	}
	if err := c.startHopsack(ctx, s); err != nil {
		return err
	}
	if o.ConfigFile == "" {
		return nil
	}
	return c.configure(ctx, o)
}

// preflight names what has to be built before a lab can start.
func (c *Cluster) preflight(o Options) error {
	if o.Kubelet != nil {
		return c.preflightKubelet(o.Kubelet)
	}
	if s, err := c.load(); err == nil && s.Kubelet != nil {
		return c.preflightKubelet(&KubeletOptions{})
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(c.controlPlaneBin(name)); err != nil {
			return fmt.Errorf("%s is missing: build the control plane with `make lab`", c.controlPlaneBin(name))
		}
	}
	programs := []string{"hopsack-controller", "hopsack-agent", "hopsack-cni"}
	for _, plugin := range cniPlugins {
		programs = append(programs, filepath.Join("cni", plugin))
	}
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(c.binDir, name)); err != nil {
			return fmt.Errorf("%s is missing: build it with `make lab`", filepath.Join(c.binDir, name))
		}
	}
	if _, err := os.Stat(c.helper); err != nil {
		return fmt.Errorf("%s is missing: build it with `make lab`", c.helper)
	}
	return nil
}

// plan decides what the lab consists of and saves it before anything is made.
func (c *Cluster) plan(o Options) (*state, error) {
	s, err := c.load()
	exists := err == nil
	if errors.Is(err, ErrNotUp) {
		s, err = newState(o)
	} else if err == nil {
		err = s.match(o)
	}
	if err == nil {
		err = s.mergeKubelet(o.Kubelet, exists)
	}
	if err != nil {
		return nil, err
	}
	s.BinDir = c.binDir
	if o.AgentArgs != nil {
		s.AgentArgs = o.AgentArgs
	}
	if o.ControllerArgs != nil {
		s.ControllerArgs = o.ControllerArgs
	}
	return s, c.save(s)
}

func newState(o Options) (*state, error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Routed < 0 {
		o.Routed = min(1, o.Nodes-1)
	}
	if o.Nodes < 1 || o.Nodes > maxIndex || o.Routed > o.Nodes {
		return nil, fmt.Errorf("%d nodes, %d of them routed: want 1 to %d nodes and no more routed ones than nodes", o.Nodes, o.Routed, maxIndex)
	}
	s := &state{}
	for i := 1; i <= o.Nodes; i++ {
		s.Nodes = append(s.Nodes, Node{Name: fmt.Sprintf("n%d", i), Index: i, Routed: i > o.Nodes-o.Routed})
	}
	return s, nil
}

// match refuses to turn a lab that exists into another one.
func (s *state) match(o Options) error {
	routed := 0
	for _, n := range s.Nodes {
		if n.Routed {
			routed++
		}
	}
	if (o.Nodes != 0 && o.Nodes != len(s.Nodes)) || (o.Routed >= 0 && o.Routed != routed) {
		return fmt.Errorf("the lab is up with %d nodes, %d of them routed: change it with `lab node add|del`, or start over with `lab down`",
			len(s.Nodes), routed)
	}
	return nil
}

// buildMachines makes every machine and starts the control plane, without waiting for it.
func (c *Cluster) buildMachines(ctx context.Context, s *state) error {
	if err := buildUnderlay(); err != nil {
		return err
	}
	if err := c.enforceCuts(s); err != nil {
		return err
	}
	if err := c.makePKI(); err != nil {
		return err
	}
	if s.Kubelet != nil {
		if err := c.makeKubePKI(); err != nil {
			return err
		}
	}
	if err := c.startMachine(placeControlPlane, nil); err != nil {
		return err
	}
	c.say("underlay: %d nodes, control plane at %s", len(s.Nodes), controlPlaneAddr.Addr())
	for _, name := range []string{ETCD, APIServer} {
		comp, err := c.component(s, name)
		if err != nil {
			return err
		}
		if err := c.launch(comp); err != nil {
			return err
		}
	}
	for _, n := range s.Nodes {
		if err := c.buildNode(ctx, s, n); err != nil {
			return err
		}
		c.say("node %s: %s", n.Name, n.prefix().Addr())
	}
	return nil
}

func (c *Cluster) awaitControlPlane(ctx context.Context, s *state) error {
	for _, name := range []string{ETCD, APIServer} {
		comp, err := c.component(s, name)
		if err != nil {
			return err
		}
		if err := c.ready(ctx, comp); err != nil {
			return err
		}
	}
	c.say("API server: ready")
	return nil
}

// startHopsack registers the nodes and starts controller and agents.
func (c *Cluster) startHopsack(ctx context.Context, s *state) error {
	if err := c.startController(ctx, s); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range s.Nodes {
		group.Go(func() error {
			if err := c.register(ctx, n); err != nil {
				return err
			}
			return c.startAgent(ctx, s, n)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.say("hopsack: controller and %d agents running", len(s.Nodes))
	return nil
}

func (c *Cluster) startController(ctx context.Context, s *state) error {
	api, err := c.Client()
	if err != nil {
		return err
	}
	if err := c.issueCredentials(ctx, api, Controller, "hopsack-controller", ""); err != nil {
		return err
	}
	return c.start(ctx, s, Controller)
}

// startAgent starts a node's agent unless it runs and waits until it is healthy.
func (c *Cluster) startAgent(ctx context.Context, s *state, n Node) error {
	return c.start(ctx, s, Agent(n.Name))
}
