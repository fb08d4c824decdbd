package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func peersCases() []benchCase {
	var out []benchCase
	for _, c := range []struct{ peers, repeats int }{{100, 7}, {1000, 5}, {5000, 3}} {
		out = append(out, benchCase{
			name: fmt.Sprintf("peers/%d", c.peers),
			what: fmt.Sprintf("program %d vxlan peers, against raw netlink with one handle", c.peers),
			run: func(ctx context.Context, _ settings) error {
				return benchPeers(ctx, c.peers, c.repeats)
			},
		})
	}
	return out
}

// peersResult: ours is Sync on a bare node, everything included; base the same without any peer; raw is the peers' FDB, ARP
// and route entries alone, on a node like that of base.
type peersResult struct {
	Bench     string  `json:"bench"`
	N         int     `json:"n"`
	Repeats   int     `json:"repeats"`
	Ours      float64 `json:"ours_ms"`
	Raw       float64 `json:"raw_ms"`
	Ratio     float64 `json:"ratio"`
	Base      float64 `json:"base_ms"`
	Compute   float64 `json:"compute_ms"`
	Noop      float64 `json:"noop_ms"`
	NoopFull  float64 `json:"noop_full_ms"`
	RawDump   float64 `json:"raw_dump_ms"`
	NoopRatio float64 `json:"noop_ratio"`
	// NoopWrites are the writes Sync reported with nothing to do, NoopEvents what the kernel told of them.
	NoopWrites int     `json:"noop_writes"`
	NoopEvents int     `json:"noop_events"`
	AddOne     float64 `json:"add_one_ms"`
	RawAddOne  float64 `json:"raw_add_one_ms"`
	AddRatio   float64 `json:"add_one_ratio"`
	memory
}

// memory is of this process: RSS before anything, at the end of the first Sync and at its peak, what Compute and Sync
// allocated, and what is live afterwards, the peers' leases included.
type memory struct {
	BaseRSS float64 `json:"rss_base_mb"`
	RSS     float64 `json:"rss_mb"`
	PeakRSS float64 `json:"rss_peak_mb"`
	Alloc   float64 `json:"alloc_mb"`
	Live    float64 `json:"live_mb"`
}

// again is how often a run repeats what is quick: a pass with nothing to do, a peer that joins.
const again = 5

// peersRun collects what the repeats measure.
type peersRun struct {
	peers                             int
	ours, base, raw, compute          sample
	noop, noopFull, rawDump, add, one sample
	writes, events                    int
	memory                            memory
}

func benchPeers(ctx context.Context, peers, repeats int) error {
	r := &peersRun{peers: peers}
	for i := range repeats {
		if err := errors.Join(ctx.Err(), r.hopsack(ctx, i == 0)); err != nil {
			return err
		}
		if err := r.reference(ctx); err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		say("  run %d: hopsack %.1f ms, raw netlink %.1f ms", i+1, ms(r.ours[i]), ms(r.raw[i]))
	}
	return emit(peersResult{
		Bench: "peers", N: peers, Repeats: repeats,
		Ours: ms(r.ours.p50()), Raw: ms(r.raw.p50()), Ratio: ratio(r.ours.p50(), r.raw.p50()),
		Base: ms(r.base.p50()), Compute: ms(r.compute.p50()),
		Noop: ms(r.noop.p50()), NoopFull: ms(r.noopFull.p50()), RawDump: ms(r.rawDump.p50()), NoopRatio: ratio(r.noop.p50(), r.rawDump.p50()),
		NoopWrites: r.writes, NoopEvents: r.events,
		AddOne: ms(r.add.p50()), RawAddOne: ms(r.one.p50()), AddRatio: ratio(r.add.p50(), r.one.p50()),
		memory: r.memory,
	})
}

// hopsack programs a bare node, looks twice whether there is anything left to do, and adds one peer.
func (r *peersRun) hopsack(ctx context.Context, first bool) error {
	n, err := newNode(0, defaultBackend())
	if err != nil {
		return err
	}
	defer n.remove()
	if err := n.stubUnderlay(); err != nil {
		return err
	}
	peers := leases(1, r.peers)
	start, err := readMemory()
	if err != nil {
		return err
	}
	var want desired.State
	if err := r.compute.took(func() (err error) { want, err = n.compute(peers); return err }); err != nil {
		return err
	}
	err = n.do(func() error {
		if err := r.fresh(ctx, n, want); err != nil {
			return err
		}
		if first {
			if err := r.memory.since(start); err != nil {
				return err
			}
		}
		if err := r.nothing(ctx, n, want, first); err != nil {
			return err
		}
		return r.addOne(ctx, n)
	})
	runtime.KeepAlive(peers)
	return err
}

// fresh is the first Sync of a bare node.
func (r *peersRun) fresh(ctx context.Context, n *node, want desired.State) error {
	var changes dataplane.Changes
	if err := r.ours.took(func() (err error) { changes, err = n.sync(ctx, want, true); return err }); err != nil {
		return err
	}
	// One route more: the pod network itself is unreachable.
	if changes[dataplane.KindFDB] != r.peers || changes[dataplane.KindNeigh] != r.peers || changes[dataplane.KindRoute] != r.peers+1 {
		return fmt.Errorf("the first pass wrote %s, want an FDB entry, an ARP entry and a route for each of %d peers", changes, r.peers)
	}
	return countEntries(r.peers)
}

// nothing is Sync with nothing to do: as after an event that turns out not to matter, and a full one. Neither may write, and
// in the run in which the kernel is listened to, it must not tell of anything either.
func (r *peersRun) nothing(ctx context.Context, n *node, want desired.State, listen bool) error {
	events := &eventWatch{}
	if listen {
		var err error
		if events, err = watchEvents(); err != nil {
			return err
		}
		defer events.close()
		if err := events.settle(); err != nil {
			return err
		}
	}
	for i := range 2 * again {
		full, into := i%2 == 1, &r.noop
		if full {
			into = &r.noopFull
		}
		err := into.took(func() error {
			changes, err := n.sync(ctx, want, full)
			r.writes += changes.Total()
			return err
		})
		if err != nil {
			return err
		}
	}
	seen, err := events.count()
	r.events += seen
	if err == nil && r.writes+r.events > 0 {
		err = fmt.Errorf("passes with nothing to do wrote %d times and caused %d kernel events", r.writes, r.events)
	}
	return err
}

// addOne is what a join costs every other node, from the lease to the last entry.
func (r *peersRun) addOne(ctx context.Context, n *node) error {
	for i := range again {
		peers := leases(1, r.peers+1+i)
		err := r.add.took(func() error {
			want, err := n.compute(peers)
			if err != nil {
				return err
			}
			changes, err := n.sync(ctx, want, false)
			if err == nil && (changes[dataplane.KindFDB] != 1 || changes[dataplane.KindNeigh] != 1 || changes[dataplane.KindRoute] != 1) {
				err = fmt.Errorf("a new peer took %s, want one FDB entry, one ARP entry and one route", changes)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return countEntries(r.peers + again)
}
