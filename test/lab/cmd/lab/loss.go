package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

func lossCommand(o *options) *cobra.Command {
	return loss.NewCommand(func(target string) (loss.Endpoint, error) {
		c, err := o.open()
		if err != nil {
			return loss.Endpoint{}, err
		}
		return endpoint(c, target)
	})
}

// endpoint finds a pod, a node or the client. Towards pods a node has its stable address, so that both directions of a
// measurement cross the pod network.
func endpoint(c *lab.Cluster, target string) (loss.Endpoint, error) {
	path, err := c.NetNS(target)
	if err != nil {
		return loss.Endpoint{}, err
	}
	addrs, err := c.Addrs(target)
	if err != nil {
		return loss.Endpoint{}, err
	}
	if len(addrs) == 0 {
		return loss.Endpoint{}, fmt.Errorf("%s has no address", target)
	}
	e := loss.Endpoint{Name: target, NetNS: path, Addr: addrs[0]}
	nodes, err := c.Nodes()
	if err != nil {
		return loss.Endpoint{}, err
	}
	if !slices.ContainsFunc(nodes, func(n lab.Node) bool { return n.Name == target }) {
		return e, nil
	}
	e.Underlay = addrs[0]
	e.Addr, err = c.StableAddr(target)
	return e, err
}
