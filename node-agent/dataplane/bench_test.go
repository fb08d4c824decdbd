package dataplane_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// many are n peers besides node 1.
func many(n int) []int {
	peers := make([]int, n)
	for i := range peers {
		peers[i] = i + 2
	}
	return peers
}

// BenchmarkSync measures a first pass, a pass that finds everything in place, and one in which a peer joins or leaves. The
// floor is the same entries by the same calls without reading, comparing and filtering anything.
func BenchmarkSync(b *testing.B) {
	for _, peers := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("floor/%d", peers), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				nstest.Enter(b)
				withUnderlay(b)
				want := nodeState(b.TempDir(), 1, many(peers)...)
				kernel := benchDevice(b, want)
				b.StartTimer()
				program(b, kernel, want)
			}
			b.ReportMetric(float64(3*peers*b.N)/b.Elapsed().Seconds(), "entries/s")
		})
		b.Run(fmt.Sprintf("first/%d", peers), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				nstest.Enter(b)
				withUnderlay(b)
				o := options(b)
				d := newDataplane(b, o)
				want := nodeState(o.StateDir, 1, many(peers)...)
				b.StartTimer()
				sync(b, d, want)
			}
			b.ReportMetric(float64(3*peers*b.N)/b.Elapsed().Seconds(), "entries/s")
		})
		b.Run(fmt.Sprintf("nothing/%d", peers), func(b *testing.B) {
			d, want, _ := benchNode(b, peers)
			for b.Loop() {
				if r := sync(b, d, want); r.Changes.Total() > 0 {
					b.Fatalf("got changes %q", r.Changes)
				}
			}
		})
		b.Run(fmt.Sprintf("join or leave/%d", peers), func(b *testing.B) {
			d, with, without := benchNode(b, peers)
			for i := 0; b.Loop(); i++ {
				want := without
				if i%2 == 1 {
					want = with
				}
				if r := sync(b, d, want); r.Changes.Total() != 4 {
					b.Fatalf("got changes %q", r.Changes)
				}
			}
		})
	}
}

// benchNode is a programmed node, with its State and that without the last peer.
func benchNode(b *testing.B, peers int) (d *dataplane.Dataplane, with, without desired.State) {
	b.Helper()
	nstest.Enter(b)
	withUnderlay(b)
	o := options(b)
	d = newDataplane(b, o)
	with, without = nodeState(o.StateDir, 1, many(peers)...), nodeState(o.StateDir, 1, many(peers-1)...)
	sync(b, d, with)
	return d, with, without
}

// benchDevice makes the devices and addresses of a State and nothing else.
func benchDevice(b *testing.B, want desired.State) *dataplane.Netlink {
	b.Helper()
	o := options(b)
	bare := desired.State{Links: want.Links, Addrs: want.Addrs}
	if _, err := newDataplane(b, o).Sync(context.Background(), bare, false); err != nil {
		b.Fatal(err)
	}
	kernel, err := dataplane.NewNetlink()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(kernel.Close)
	return kernel
}

// program makes all entries of a State.
func program(b *testing.B, kernel *dataplane.Netlink, want desired.State) {
	b.Helper()
	links, err := kernel.Links()
	if err != nil {
		b.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l dataplane.Link) bool { return l.Name == tunnel })
	index := links[i].Index
	for key, dst := range want.FDB {
		if err := kernel.SetNeigh(dataplane.Neigh{Index: index, FDB: true, MAC: key.MAC, IP: dst}); err != nil {
			b.Fatal(err)
		}
	}
	for key, mac := range want.Neighs {
		if err := kernel.SetNeigh(dataplane.Neigh{Index: index, MAC: mac, IP: key.IP}); err != nil {
			b.Fatal(err)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(want.Routes), netip.Prefix.Compare) {
		r := want.Routes[p]
		out := dataplane.Route{Prefix: p, Unreachable: r.Unreachable, Gateway: r.Gateway, OnLink: r.OnLink, Source: r.Source, MTU: uint32(r.MTU)}
		if !r.Unreachable {
			out.Index = index
		}
		if err := kernel.SetRoute(out, false); err != nil {
			b.Fatal(err)
		}
	}
}
