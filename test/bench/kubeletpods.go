package main

import (
	"context"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/kubelet/network"
)

// fullNode is how many pods a kubelet takes by default.
const fullNode = 110

// kubeletPods is the one line of the case.
type kubeletPods struct {
	Bench string `json:"bench"`
	Pods  int    `json:"pods"`
	// Networked are those with an address of their own, New those that the case has made.
	Networked int `json:"networked"`
	New       int `json:"new"`
	// Ready is until all are, Gone until nothing of the new ones is left on the node.
	Ready float64 `json:"ready_s"`
	Gone  float64 `json:"gone_s"`
}

func benchKubeletPods(ctx context.Context, _ settings, c *cluster.Cluster) error {
	done, err := network.Crowd(ctx, c, "n2", fullNode)
	if err != nil {
		return err
	}
	return emit(kubeletPods{
		Bench: "kubelet-pods", Pods: done.Pods, Networked: done.Networked, New: done.New,
		Ready: round(done.Ready.Seconds(), 1), Gone: round(done.Gone.Seconds(), 1),
	})
}
