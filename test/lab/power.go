package lab

import (
	"context"
	"fmt"
)

// PowerOff ends everything on a node at once and takes it off the network, as a power failure does. Its disk stays, and so
// does its Node object. A node that is off is success.
func (c *Cluster) PowerOff(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		n, ok := s.node(name)
		if !ok {
			return fmt.Errorf("no node %s in the lab", name)
		}
		if err := c.endMachine(ctx, name); err != nil {
			return err
		}
		if err := c.forgetPods(name); err != nil {
			return err
		}
		return dismantleNode(n)
	})
}

// PowerOn boots a node that is off, with the disk it had and a new boot ID. The API server need not be up. A node that runs
// is repaired.
func (c *Cluster) PowerOn(ctx context.Context, name string) error {
	return c.withState(ctx, func(s *state) error {
		n, ok := s.node(name)
		if !ok {
			return fmt.Errorf("no node %s in the lab", name)
		}
		return c.boot(ctx, s, n)
	})
}

// boot makes a node's machine and starts what it runs.
func (c *Cluster) boot(ctx context.Context, s *state, n Node) error {
	if err := c.buildNode(ctx, s, n); err != nil {
		return err
	}
	if s.Kubelet != nil {
		return c.startNode(ctx, s, n)
	}
	if c.Running(APIServer) {
		if err := c.announceBoots(ctx, s); err != nil {
			c.say("node %s: its new boot ID is not in its Node object: %v", n.Name, err)
		}
	}
	return c.startAgent(ctx, s, n)
}
