package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// BenchmarkPaths measures passes while two paths to 5,000 peers can be proven: the first, and one that finds all in place.
func BenchmarkPaths(b *testing.B) {
	const peers = 5000
	state := func(dir string) desired.State {
		want := nodeState(dir, 1, many(peers)...)
		for _, table := range []int{10400, 10402} {
			withPath(&want, 1, table, tunnel, 2)
			for _, i := range many(peers) {
				want.Tables[table][netip.PrefixFrom(subnet(i).Addr(), 30)] = want.Routes[subnet(i)]
			}
		}
		return want
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			nstest.Enter(b)
			withUnderlay(b)
			o := options(b)
			d, want := newDataplane(b, o), state(o.StateDir)
			b.StartTimer()
			sync(b, d, want)
		}
	})
	b.Run("nothing", func(b *testing.B) {
		nstest.Enter(b)
		withUnderlay(b)
		o := options(b)
		d, want := newDataplane(b, o), state(o.StateDir)
		sync(b, d, want)
		for b.Loop() {
			if r := sync(b, d, want); r.Changes.Total() > 0 {
				b.Fatalf("got changes %q", r.Changes)
			}
		}
	})
}
