package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
)

// BenchmarkAddDel plugs pods in and out: through this plugin, and through the reference bridge plugin alone with the same
// configuration. The difference is what hopsack adds. "present" pods are plugged in all the while.
//
//	go test -run '^$' -bench AddDel -benchtime 100x ./cni
func BenchmarkAddDel(b *testing.B) {
	for _, present := range []int{0, 200} {
		b.Run(fmt.Sprintf("hopsack/present=%d", present), func(b *testing.B) { benchmarkAddDel(b, present, (*node).conflist) })
		b.Run(fmt.Sprintf("bridge/present=%d", present), func(b *testing.B) { benchmarkAddDel(b, present, bareBridge) })
	}
}

// bareBridge is a conflist of the bridge plugin as hopsack would call it.
func bareBridge(n *node, t testing.TB) *libcni.NetworkConfigList {
	t.Helper()
	c := netConf{Name: "hopsack", CNIVersion: n.version, DataDir: n.dataDir}
	conf, _, err := c.addConf(file("10.244.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"cniVersion": n.version, "name": "hopsack", "plugins": []any{json.RawMessage(conf)}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.ConfListFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func benchmarkAddDel(b *testing.B, present int, conflist func(*node, testing.TB) *libcni.NetworkConfigList) {
	n := newNode(b, file("10.244.1.0/24"))
	list := conflist(n, b)
	timed := func(do func(ctx context.Context, c *libcni.CNIConfig) error) time.Duration {
		start := time.Now()
		if err := n.call(do); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	add := func(p pod) time.Duration {
		return timed(func(ctx context.Context, c *libcni.CNIConfig) error {
			_, err := c.AddNetworkList(ctx, list, p.conf())
			return err
		})
	}
	for i := range present {
		add(newPod(b, fmt.Sprintf("present-%d", i)))
	}
	var adds, dels []time.Duration
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		p := newPod(b, fmt.Sprintf("pod-%d", i))
		b.StartTimer()
		adds = append(adds, add(p))
		dels = append(dels, timed(func(ctx context.Context, c *libcni.CNIConfig) error { return c.DelNetworkList(ctx, list, p.conf()) }))
		b.StopTimer()
		p.close()
		b.StartTimer()
	}
	b.StopTimer()
	for name, d := range map[string][]time.Duration{"add": adds, "del": dels} {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(d[len(d)-1].Microseconds())/1000, name+"-max-ms")
	}
}
