package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// cniPods is how many pods each way plugs in and out.
const cniPods = 60

func cniCases() []benchCase {
	var out []benchCase
	for _, c := range []struct {
		name string
		cniCase
	}{
		{"cni/0", cniCase{pods: cniPods}},
		{"cni/200", cniCase{pods: cniPods, Present: 200}},
		{"cni/hostport", cniCase{pods: cniPods / 2, HostPort: 18080}},
	} {
		what := fmt.Sprintf("plug pods in and out with %d pods present, against the bridge plugin alone", c.Present)
		if c.HostPort != 0 {
			what = "plug pods with one hostPort in and out, against the bridge and portmap plugins alone"
		}
		out = append(out, benchCase{name: c.name, what: what, run: func(ctx context.Context, _ settings) error { return c.run(ctx) }})
	}
	return out
}

// cniCase is what differs between the cases.
type cniCase struct {
	// Present pods are plugged in all the while.
	Present int `json:"present"`
	// HostPort is published for every pod that is measured; 0 for none.
	HostPort int `json:"host_port,omitempty"`
	pods     int
}

// cniResult compares three ways: hopsack is the plugin (with portmap where there is a hostPort), bare the reference plugin
// bridge with host-local and flannel's settings (with portmap likewise), conflist the whole chain that the agent writes, which
// has portmap although there may be no port to map.
type cniResult struct {
	Bench string `json:"bench"`
	cniCase
	Pods int `json:"pods"`

	AddP50 float64 `json:"add_p50_ms"`
	AddP90 float64 `json:"add_p90_ms"`
	AddMax float64 `json:"add_max_ms"`
	DelP50 float64 `json:"del_p50_ms"`
	DelP90 float64 `json:"del_p90_ms"`
	DelMax float64 `json:"del_max_ms"`

	BareAddP50 float64 `json:"bare_add_p50_ms"`
	BareAddP90 float64 `json:"bare_add_p90_ms"`
	BareAddMax float64 `json:"bare_add_max_ms"`
	BareDelP50 float64 `json:"bare_del_p50_ms"`
	BareDelP90 float64 `json:"bare_del_p90_ms"`
	BareDelMax float64 `json:"bare_del_max_ms"`

	ConflistAddP50 float64 `json:"conflist_add_p50_ms,omitempty"`
	ConflistDelP50 float64 `json:"conflist_del_p50_ms,omitempty"`

	AddRatio float64 `json:"add_ratio"`
	DelRatio float64 `json:"del_ratio"`
}

// run plugs a pod in and out each way in turn, so that a slow moment of the machine falls on all ways.
func (c cniCase) run(ctx context.Context) error {
	ways, err := c.ways(ctx)
	defer closeWays(ways)
	if err != nil {
		return err
	}
	for _, w := range ways {
		if err := w.fill(ctx, c.Present); err != nil {
			return err
		}
	}
	for i := range c.pods {
		for j := range ways {
			w := ways[(i+j)%len(ways)]
			if err := errors.Join(ctx.Err(), c.measure(ctx, w, fmt.Sprintf("%s-%d", w.name, i), i == 0)); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range ways {
		say("  %-9s ADD p50 %.1f ms, DEL p50 %.1f ms", w.name, ms(w.adds.p50()), ms(w.dels.p50()))
	}
	return emit(c.result(ways))
}

// ways are hopsack, the reference and, where it differs from hopsack's, the whole chain. Hopsack and the chain share a node.
func (c cniCase) ways(ctx context.Context) (ways []*cniWay, err error) {
	for i, name := range []string{"hopsack", "bare"} {
		n, err := newCNINode(i+1, defaultBackend())
		if err != nil {
			return ways, err
		}
		ways = append(ways, &cniWay{name: name, cniNode: n})
		if err := ways[i].connectClient(); err != nil {
			return ways, err
		}
	}
	ours, bare := ways[0], ways[1]
	if err := ours.program(ctx, leases(2, 4)); err != nil {
		return ways, err
	}
	chain := []string{"hopsack"}
	if c.HostPort != 0 {
		chain = append(chain, "portmap")
	}
	if ours.list, err = ours.agentConflist(chain...); err != nil {
		return ways, err
	}
	if bare.list, err = bare.bareConflist(underlayMTU-50, c.HostPort != 0); err != nil || c.HostPort != 0 {
		return ways, err
	}
	whole := &cniWay{name: "conflist", cniNode: ours.cniNode, client: ours.client, shared: true}
	whole.list, err = ours.agentConflist()
	return append(ways, whole), err
}

func closeWays(ways []*cniWay) {
	for _, w := range ways {
		w.close()
	}
}

// measure plugs one pod in and out. The first of each way is also looked at: does it have an address, does it reach its
// gateway, does its hostPort answer?
func (c cniCase) measure(ctx context.Context, w *cniWay, name string, look bool) error {
	p, err := newPod(name)
	if err != nil {
		return err
	}
	defer p.close()
	p.hostPort = c.HostPort
	if err := w.adds.took(func() error { return w.add(ctx, p) }); err != nil {
		return err
	}
	if !p.addr.IsValid() {
		return fmt.Errorf("ADD of %s gave no address", name)
	}
	if look {
		if err := w.look(p); err != nil {
			return err
		}
	}
	if err := w.dels.took(func() error { return w.del(ctx, p) }); err != nil {
		return err
	}
	if look {
		return w.gone(p)
	}
	return nil
}

func (c cniCase) result(ways []*cniWay) cniResult {
	quantiles := func(s sample) (p50, p90, most float64) { return ms(s.p50()), ms(s.p(0.9)), ms(s.p(1)) }
	ours, bare := ways[0], ways[1]
	r := cniResult{
		Bench: "cni", cniCase: c, Pods: c.pods,
		AddRatio: ratio(ours.adds.p50(), bare.adds.p50()), DelRatio: ratio(ours.dels.p50(), bare.dels.p50()),
	}
	r.AddP50, r.AddP90, r.AddMax = quantiles(ours.adds)
	r.DelP50, r.DelP90, r.DelMax = quantiles(ours.dels)
	r.BareAddP50, r.BareAddP90, r.BareAddMax = quantiles(bare.adds)
	r.BareDelP50, r.BareDelP90, r.BareDelMax = quantiles(bare.dels)
	if len(ways) > 2 {
		r.ConflistAddP50, r.ConflistDelP50 = ms(ways[2].adds.p50()), ms(ways[2].dels.p50())
	}
	return r
}

// lookTimeout bounds what a look waits for.
const lookTimeout = 3 * time.Second
