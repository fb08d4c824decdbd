package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// pauseImage is what pods of a crowd run: next to nothing.
const pauseImage = "registry.k8s.io/pause:3.10.2"

// crowdTimeout bounds each half of a crowd's life.
const crowdTimeout = 10 * time.Minute

const crowdManifest = `
apiVersion: v1
kind: Pod
metadata: {name: crowd-%03d, labels: {app: crowd}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 5
  automountServiceAccountToken: false
  tolerations: [{operator: Exists}]
  containers: [{name: c, image: ` + pauseImage + `}]
---
`

// Crowded is what became of a node that was filled with pods.
type Crowded struct {
	// Pods were on the node in the end, New of them made for it, and Networked is how many of all had an address of their own.
	Pods, New, Networked int
	// Ready is how long it took from asking for the pods until all were, Gone from deleting them until nothing of them was left.
	Ready, Gone time.Duration
}

// Crowd makes pods on a node until it has as many as given, waits until all are Ready, each with an address of its own out of the
// node's subnets, deletes the new ones again, and waits until the node has forgotten them.
func Crowd(ctx context.Context, c *cluster.Cluster, node string, pods int) (Crowded, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*crowdTimeout)
	defer cancel()
	before, err := podsOn(ctx, c, node)
	if err != nil {
		return Crowded{}, err
	}
	done := Crowded{Pods: pods, New: pods - len(before)}
	if done.New <= 0 {
		return done, fmt.Errorf("node %s has %d pods already, %d were asked for", node, len(before), pods)
	}
	var yaml strings.Builder
	for i := range done.New {
		fmt.Fprintf(&yaml, crowdManifest, i, node)
	}
	start := time.Now()
	if out, err := c.Apply(ctx, yaml.String()); err != nil {
		return done, fmt.Errorf("%w: %s", err, out)
	}
	if err := awaitAllReady(ctx, c, node, pods); err != nil {
		return done, err
	}
	done.Ready = time.Since(start)
	if done.Networked, err = ownAddresses(ctx, c, node); err != nil {
		return done, err
	}
	start = time.Now()
	if _, err := c.Kubectl(ctx, "delete", "pods", "-l", "app=crowd", "--wait=false"); err != nil {
		return done, err
	}
	if err := awaitAllReady(ctx, c, node, len(before)); err != nil {
		return done, err
	}
	err = Accounted(ctx, c, node)
	done.Gone = time.Since(start)
	return done, err
}

// podsOn returns the pods of a node, in all namespaces.
func podsOn(ctx context.Context, c *cluster.Cluster, node string) ([]corev1.Pod, error) {
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	err = api.List(ctx, &list, client.MatchingFields{"spec.nodeName": node})
	return list.Items, err
}

func awaitAllReady(ctx context.Context, c *cluster.Cluster, node string, count int) error {
	ctx, cancel := context.WithTimeout(ctx, crowdTimeout)
	defer cancel()
	return c.Wait(ctx, fmt.Sprintf("%d Ready pods on %s", count, node), func() (bool, error) {
		pods, err := podsOn(ctx, c, node)
		if err != nil {
			return false, err
		}
		var waiting []string
		for _, p := range pods {
			if !isReady(p) {
				waiting = append(waiting, p.Name)
			}
		}
		if len(waiting) > 0 || len(pods) != count {
			return false, fmt.Errorf("%d pods, not Ready: %s", len(pods), strings.Join(waiting, " "))
		}
		return true, nil
	})
}

func isReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ownAddresses sees that every pod on a node that is not in the node's network has an address of its own out of the node's subnets,
// and counts them.
func ownAddresses(ctx context.Context, c *cluster.Cluster, node string) (int, error) {
	pods, err := podsOn(ctx, c, node)
	if err != nil {
		return 0, err
	}
	subnets, err := subnetsOf(ctx, c, node)
	if err != nil {
		return 0, err
	}
	var errs []error
	owner := map[netip.Addr]string{}
	for _, p := range pods {
		if p.Spec.HostNetwork {
			continue
		}
		addr, err := netip.ParseAddr(p.Status.PodIP)
		if err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", p.Name, err))
			continue
		}
		if other, ok := owner[addr]; ok {
			errs = append(errs, fmt.Errorf("pods %s and %s have the same address %s", other, p.Name, addr))
		}
		owner[addr] = p.Name
		if !within(addr, subnets) {
			errs = append(errs, fmt.Errorf("pod %s on %s has the address %s, which is in none of %v", p.Name, node, addr, subnets))
		}
	}
	return len(owner), errors.Join(errs...)
}

func within(addr netip.Addr, subnets []netip.Prefix) bool {
	for _, s := range subnets {
		if s.Contains(addr) {
			return true
		}
	}
	return false
}

// subnetsOf returns the subnets that are leased to a node.
func subnetsOf(ctx context.Context, c *cluster.Cluster, node string) ([]netip.Prefix, error) {
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	var leases v1alpha1.SubnetLeaseList
	if err := api.List(ctx, &leases); err != nil {
		return nil, err
	}
	var subnets []netip.Prefix
	for _, l := range leases.Items {
		if l.Spec.NodeName != node {
			continue
		}
		prefix, err := netip.ParsePrefix(l.Spec.Subnet)
		if err != nil {
			return nil, err
		}
		subnets = append(subnets, prefix)
	}
	return subnets, nil
}
