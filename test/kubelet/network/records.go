package network

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// kept lists what a node knows of its pods: the addresses that are taken, hopsack's records, and ports of the bridge.
const kept = `
for f in /run/hopsack/ipam/*/*.*.*.*; do [ -e "$f" ] && echo "address ${f##*/}"; done
for f in /run/hopsack/pods/*; do [ -e "$f" ] && echo "record"; done
for f in /sys/class/net/*/ifalias; do grep -q '^hopsack-pod' "$f" 2>/dev/null && echo "port"; done
true`

// Accounted waits until a node keeps exactly what its pods need: the address of each, one record and one port.
func Accounted(ctx context.Context, c *cluster.Cluster, node string) error {
	return c.Soon(ctx, "node "+node+" to keep what its pods need and nothing else", func() (bool, error) {
		pods, err := podsOn(ctx, c, node)
		if err != nil {
			return false, err
		}
		var want []string
		for _, p := range pods {
			if !p.Spec.HostNetwork {
				want = append(want, "address "+p.Status.PodIP, "record", "port")
			}
		}
		out, err := c.Sh(ctx, node, kept)
		if err != nil {
			return false, err
		}
		got := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(want, got) {
			return false, fmt.Errorf("(-pods +node):\n%s", cmp.Diff(want, got))
		}
		return true, nil
	})
}
