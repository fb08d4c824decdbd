package probe

import (
	"context"
	"fmt"
	"sync"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// The sentences that do not depend on the path.
const (
	sayDead        = "peer dead on the current path too"
	sayPodsDropped = "answers for the node but drops pod addresses"
	sayPeerFilter  = "peer's FORWARD policy drops pods"
	sayOwnFilter   = "this node's FORWARD policy drops pods"
	sayBothFilter  = "the FORWARD policies of peer and this node drop pods"
	sayUnprepared  = "peer has not prepared the path yet"
)

// Diagnose finds out why a peer did not answer over a path as it should; a is what Ask said. It sends some more packets, over
// that path and over the current one, and takes up to two seconds. An answer that is OK has no finding.
func (p *Prober) Diagnose(ctx context.Context, path string, t Target, a Answer) Finding {
	v := p.view.Load()
	way, ok := v.paths[path]
	switch {
	case a.OK:
		return Finding{}
	case !ok:
		return Finding{v1alpha1.ProbeNoAnswer, "this node has not prepared the path yet"}
	case a.Unprepared:
		return Finding{v1alpha1.ProbeNoAnswer, sayUnprepared}
	case a.Small:
		return p.diagnoseSize(ctx, way, t, a)
	}
	// The current path first: a path towards a peer that is dead proves nothing.
	if path == "" {
		return p.diagnoseAlone(ctx, v, way, t)
	}
	if !p.reaches(ctx, question{by: v.paths[""].conn, to: t.Pod}) {
		return p.diagnoseCurrent(ctx, v, t)
	}
	return p.diagnosePath(ctx, v, way, t)
}

// diagnoseSize finds the size that passes, unless a knows it.
func (p *Prober) diagnoseSize(ctx context.Context, way path, t Target, a Answer) Finding {
	passes := a.PathMTU
	if passes == 0 {
		passes = p.pathMTU(ctx, question{by: way.conn, path: way.Name, to: t.Pod}, way.MTU)
	}
	if passes >= way.MTU {
		return Finding{v1alpha1.ProbePathMTU, fmt.Sprintf("packets of %d bytes are lost at times", way.MTU)}
	}
	return Finding{v1alpha1.ProbePathMTU, fmt.Sprintf("path MTU %d < %d", passes, way.MTU)}
}

// diagnoseAlone is about the current path itself. There is no other one to compare it with: whether the peer is dead or the path
// broken cannot be told, so what is said is which packets were not answered. An answer of the node to pings would not tell it
// either: where only the agent is down, pods are reached.
func (p *Prober) diagnoseAlone(ctx context.Context, v *view, way path, t Target) Finding {
	f := p.diagnoseCurrent(ctx, v, t)
	if f.Reason != v1alpha1.ProbePeerDead {
		return f
	}
	return evidence{}.finding(way.Path, t)
}

// diagnoseCurrent tells a peer that is dead from one whose pods are cut off. What hosts send and receive themselves meets no
// FORWARD rules, so an end that is reached by its host only has a filter in the way.
func (p *Prober) diagnoseCurrent(ctx context.Context, v *view, t Target) Finding {
	var toHost, fromHost, hosts bool
	together(
		func() { toHost = p.reaches(ctx, question{by: v.paths[""].conn, to: t.Gateway}) },
		func() { fromHost = p.reaches(ctx, question{by: v.host, to: t.Pod}) },
		func() { hosts = p.reaches(ctx, question{by: v.host, to: t.Gateway}) },
	)
	p.log.V(1).Info("Diagnosed the current path", "peer", t.Node, "podToHost", toHost, "hostToPod", fromHost, "hostToHost", hosts)
	switch {
	case toHost:
		return Finding{v1alpha1.ProbeForwardPolicy, sayPeerFilter}
	case fromHost:
		return Finding{v1alpha1.ProbeForwardPolicy, sayOwnFilter}
	case hosts:
		return Finding{v1alpha1.ProbeForwardPolicy, sayBothFilter}
	}
	return Finding{v1alpha1.ProbePeerDead, sayDead}
}

// evidence is which packets got through. Those on the way there take the path that is diagnosed, and are answered over the
// current one; those on the way back the other way round. An end that is the host itself leaves out its FORWARD rules.
type evidence struct {
	podToPod, podToHost, hostToPod, hostToHost bool // on the way there
	backToPod, backToHost                      bool // from the peer's pod
	node                                       bool // the peer's own address answers pings; asked where nothing is encapsulated
}

// diagnosePath looks for what is wrong with a path towards a peer that answers over the current one.
func (p *Prober) diagnosePath(ctx context.Context, v *view, way path, t Target) Finding {
	var e evidence
	current := v.paths[""].conn
	together(
		func() { e.podToPod = p.reaches(ctx, question{by: way.conn, to: t.Pod}) },
		func() { e.podToHost = p.reaches(ctx, question{by: way.conn, to: t.Gateway}) },
		func() { e.hostToPod = p.reaches(ctx, question{by: way.standIn, to: t.Pod}) },
		func() { e.hostToHost = p.reaches(ctx, question{by: way.standIn, to: t.Gateway}) },
		func() { e.backToPod = p.reaches(ctx, question{by: current, path: way.Name, to: t.Pod}) },
		func() { e.backToHost = p.reaches(ctx, question{by: v.host, path: way.Name, to: t.Pod}) },
		func() { e.node = t.Direct && p.reaches(ctx, question{ping: v.ping, to: t.Underlay}) },
	)
	p.log.V(1).Info("Diagnosed a path", "peer", t.Node, "path", way.Name, "evidence", e)
	return e.finding(way.Path, t)
}

// finding is what follows from the evidence.
func (e evidence) finding(way Path, t Target) Finding {
	peerFilter := !e.podToPod && (e.podToHost || e.hostToHost && !e.hostToPod)
	ownFilter := !e.podToPod && (e.hostToPod || e.hostToHost && !e.podToHost) || !e.backToPod && e.backToHost
	switch {
	case peerFilter && ownFilter:
		return Finding{v1alpha1.ProbeForwardPolicy, sayBothFilter}
	case peerFilter:
		return Finding{v1alpha1.ProbeForwardPolicy, sayPeerFilter}
	case ownFilter:
		return Finding{v1alpha1.ProbeForwardPolicy, sayOwnFilter}
	case e.node:
		return Finding{v1alpha1.ProbePodAddressesDropped, sayPodsDropped}
	case way.TunnelPort != 0 && !t.Direct:
		return Finding{v1alpha1.ProbeNoAnswer, fmt.Sprintf("no answer over UDP %d from %s", way.TunnelPort, t.Underlay)}
	}
	return Finding{v1alpha1.ProbeNoAnswer, fmt.Sprintf("no answer from %s", t.Underlay)}
}

// reaches says whether a small packet is answered by the way that is asked about.
func (p *Prober) reaches(ctx context.Context, q question) bool {
	if !q.to.IsValid() {
		return false
	}
	q.size = smallSize + overhead(q.to)
	r, ok := p.exchange(ctx, q)
	return ok && !r.unprepared
}

// together runs all of fs at once, and waits for them.
func together(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// mtuPivots is how many sizes are tried at once, and mtuTries how often each. The largest size is found in as many rounds as
// it takes to divide 1,500 by mtuPivots down to 1: four or five, and some thirty sizes.
const (
	mtuPivots = 7
	mtuTries  = 2
)

// pathMTU finds the largest size, in bytes, that comes back. The small probe's does, limit seems not to; it is tried once
// more, in the first round.
func (p *Prober) pathMTU(ctx context.Context, q question, limit int) int {
	passes, fails := smallSize+overhead(q.to), limit+1
	for fails-passes > 1 && ctx.Err() == nil {
		sizes := pivots(passes, fails)
		came := make([]bool, len(sizes))
		var fs []func()
		for i, size := range sizes {
			fs = append(fs, func() {
				one := q
				one.size, one.tries = size, mtuTries
				r, ok := p.exchange(ctx, one)
				came[i] = ok && !r.unprepared
			})
		}
		together(fs...)
		for i, size := range sizes { // ascending
			if came[i] {
				passes = size
			}
		}
		for i, size := range sizes {
			if !came[i] && size > passes {
				fails = size
				break
			}
		}
	}
	return passes
}

// pivots are sizes between two, both excluded, evenly spread and ascending; the last one that can be is among them.
func pivots(low, high int) []int {
	n := min(mtuPivots, high-low-1)
	sizes := make([]int, 0, n)
	for i := 1; i <= n; i++ {
		sizes = append(sizes, low+i*(high-low-1)/n)
	}
	return sizes
}
