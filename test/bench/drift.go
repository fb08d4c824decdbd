package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/test/e2e/drift"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

const (
	driftRepeats = 5
	// driftRate is the packets per second of each stream; two paths are probed at once.
	driftRate = 250
	driftNode = "n1"
	driftPeer = "n2"
)

// driftKinds are what the foundation promises to put back.
var driftKinds = []string{
	"peer route deleted", "peer route replaced", "FDB entry deleted", "FDB entry changed", "ARP entry deleted", "ARP entry changed",
	"VTEP MAC changed", "MTU changed", "tunnel address deleted", "link set down", "device deleted", "bridge address deleted",
	"nftables table deleted", "nftables ruleset flushed", "rp_filter of the underlay made strict", "rp_filter of the tunnel made strict",
	"subnet.env deleted", "subnet.env changed", "conflist deleted", "conflist changed", "hand-off deleted",
}

// driftResult has a row for each kind. Look is how long it takes to find out that all is well: times are at most that late.
type driftResult struct {
	Bench   string     `json:"bench"`
	Repeats int        `json:"repeats"`
	LookP50 float64    `json:"look_p50_ms"`
	BackP50 float64    `json:"back_p50_ms"`
	BackMax float64    `json:"back_max_ms"`
	Kinds   []driftRow `json:"kinds"`
}

// driftRow is one kind. Path is the one that leads through what was broken, other one that it must not touch.
type driftRow struct {
	Kind      string  `json:"kind"`
	BackP50   float64 `json:"back_p50_ms"`
	BackMax   float64 `json:"back_max_ms"`
	Path      string  `json:"path"`
	Lost      int64   `json:"lost"`
	Sent      int64   `json:"sent"`
	Other     string  `json:"other_path"`
	OtherLost int64   `json:"other_lost"`
	OtherSent int64   `json:"other_sent"`
}

type driftRun struct {
	*benchmarkLab
	look, all sample
	rows      []driftRow
}

func benchDrift(ctx context.Context, _ settings, l *benchmarkLab) error {
	r := &driftRun{benchmarkLab: l}
	kinds, err := r.kinds(ctx)
	if err != nil {
		return err
	}
	for _, direct := range []bool{false, true} {
		sample := "networkconfig.yaml"
		if direct {
			sample = "networkconfig-direct.yaml"
		}
		if err := r.apply(ctx, sample); err != nil {
			return err
		}
		for _, k := range kinds {
			if k.DirectRouting != direct {
				continue
			}
			if err := r.kind(ctx, k); err != nil {
				return fmt.Errorf("%s: %w", k.Name, err)
			}
		}
	}
	if err := r.apply(ctx, "networkconfig.yaml"); err != nil {
		return err
	}
	return emit(driftResult{
		Bench: "drift", Repeats: driftRepeats, LookP50: ms(r.look.p50()), BackP50: ms(r.all.p50()), BackMax: ms(r.all.p(1)), Kinds: r.rows,
	})
}

// kinds are those of driftKinds for this lab.
func (r *driftRun) kinds(ctx context.Context) ([]drift.Kind, error) {
	peer, err := r.nodeNetwork(ctx, driftPeer)
	if err != nil {
		return nil, err
	}
	addr, err := r.nodeAddress(driftPeer)
	if err != nil {
		return nil, err
	}
	if len(peer.Spec.Subnets) == 0 {
		return nil, fmt.Errorf("node %s has no subnet", driftPeer)
	}
	return drift.Pick(drift.All(drift.Target{
		PeerSubnet: peer.Spec.Subnets[0].Subnet, PeerAddr: addr.String(), Network: "10.244.",
	}), driftKinds...)
}

// apply applies a sample and waits until it is in effect.
func (r *driftRun) apply(ctx context.Context, sample string) error {
	text, err := os.ReadFile(filepath.Join("config", "samples", sample))
	if err != nil {
		return err
	}
	if _, err := r.Apply(ctx, string(text)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	return r.WaitReady(ctx)
}

// kind breaks one thing again and again, while two paths are probed: p1 to p2 goes through what is broken; the other one
// does not, as far as what was broken reaches.
func (r *driftRun) kind(ctx context.Context, k drift.Kind) error {
	other := [2]string{"p1", "p3"}
	if k.Reach == drift.Node {
		other = [2]string{"p2", "p3"}
	}
	var back sample
	var beside loss.Result
	through, err := r.probe(ctx, "p1", "p2", driftRate, func(ctx context.Context) (err error) {
		beside, err = r.probe(ctx, other[0], other[1], driftRate, func(ctx context.Context) error {
			for range driftRepeats {
				d, err := r.heals(ctx, k)
				if err != nil {
					return err
				}
				back = append(back, d)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	r.all = append(r.all, back...)
	row := driftRow{
		Kind: k.Name, BackP50: ms(back.p50()), BackMax: ms(back.p(1)), Path: "p1-p2", Lost: through.Lost, Sent: through.Sent,
		Other: other[0] + "-" + other[1], OtherLost: beside.Lost, OtherSent: beside.Sent,
	}
	r.rows = append(r.rows, row)
	say("  %-38s back after %.0f ms (most %.0f), lost %d of %d, on %s %d of %d", k.Name, row.BackP50, row.BackMax,
		row.Lost, row.Sent, row.Other, row.OtherLost, row.OtherSent)
	return nil
}

// healTimeout is when a repair counts as one that does not come.
const healTimeout = 30 * time.Second

// healScript breaks and looks on the node itself, so that nothing but the looks delays what is timed. It prints nanoseconds:
// one look while all is well, and the time from the break until a look succeeds. The pause leaves the processor to the agent.
const healScript = `
well() { { %[2]s; } >/dev/null 2>&1; }
t=$(date +%%s%%N)
well || { echo 'not well before it was broken' >&2; exit 1; }
look=$(( $(date +%%s%%N) - t ))
{ %[1]s; } || exit 1
t=$(date +%%s%%N)
until well; do
  [ $(( $(date +%%s%%N) - t )) -lt %[3]d ] || { echo 'not put back' >&2; exit 1; }
  sleep 0.002
done
echo $look $(( $(date +%%s%%N) - t ))`

// heals times one repair. The agent's own count of writes must show it: a break that breaks nothing is no measurement.
func (r *driftRun) heals(ctx context.Context, k drift.Kind) (time.Duration, error) {
	const writes = "hopsack_agent_changes_total"
	before, err := r.settled(ctx, writes)
	if err != nil {
		return 0, err
	}
	out, err := r.Exec(ctx, driftNode, "sh", "-c", fmt.Sprintf(healScript, k.Break, k.Shows, healTimeout.Nanoseconds()))
	if err != nil {
		return 0, err
	}
	var times []time.Duration
	for _, field := range strings.Fields(out) {
		ns, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", out, err)
		}
		times = append(times, time.Duration(ns))
	}
	if len(times) != 2 {
		return 0, fmt.Errorf("read %q: want two numbers", out)
	}
	after, err := r.settled(ctx, writes)
	if err != nil {
		return 0, err
	}
	if after <= before {
		return 0, fmt.Errorf("the agent of %s has written nothing", driftNode)
	}
	r.look = append(r.look, times[0])
	return times[1], nil
}

// settled waits until a counter stands still, and returns it.
func (r *driftRun) settled(ctx context.Context, counter string) (value float64, err error) {
	const still = 150 * time.Millisecond
	err = r.wait(ctx, "the agent of "+driftNode+" to come to rest", func() (bool, error) {
		if value, err = r.metric(ctx, driftNode, counter); err != nil {
			return false, err
		}
		time.Sleep(still)
		again, err := r.metric(ctx, driftNode, counter)
		return again == value, err
	})
	return value, err
}
