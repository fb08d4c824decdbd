package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hopsack-net/hopsack/test/lab"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

// Path is a way that traffic takes.
type Path struct {
	From, To string
	// NodePort is the node whose port the client sends to; empty: none.
	NodePort string
}

// String names the path.
func (p Path) String() string {
	if p.NodePort != "" {
		return fmt.Sprintf("%s->%s:NodePort->%s", p.From, p.NodePort, p.To)
	}
	return p.From + "<->" + p.To
}

// The paths of the world: on one segment, across the router, from a node, through a NodePort.
var (
	SameSegment = Path{From: "p1", To: "p2"}
	Routed      = Path{From: "p1", To: "p3"}
	FromNode    = Path{From: "n1", To: "p2"}
	ByNodePort  = Path{From: "client", To: "p2", NodePort: "n1"}
)

// Figures are what measurements came to, summed up; durations are the longest.
type Figures struct {
	Sent        int64   `json:"sent"`
	Lost        int64   `json:"lost"`
	WrongSource int64   `json:"wrongSource"`
	Broken      int64   `json:"broken"`
	GapMs       float64 `json:"gapMs"`
	StallMs     float64 `json:"stallMs"`
	JitterMs    float64 `json:"jitterMs"`
	// MachineDropped is what this machine's own input queues dropped, for whatever runs on it; Overflowed what the probe could
	// not read in time. Neither is the network's loss: the first may be in Lost, the second is not.
	MachineDropped int64 `json:"machineDropped,omitempty"`
	Overflowed     int64 `json:"overflowed,omitempty"`
	// FirstError is the first reason for a refusal or a broken connection.
	FirstError string `json:"firstError,omitempty"`
}

// Add adds o to f.
func (f *Figures) Add(o Figures) {
	f.Sent += o.Sent
	f.Lost += o.Lost
	f.WrongSource += o.WrongSource
	f.Broken += o.Broken
	f.GapMs = max(f.GapMs, o.GapMs)
	f.StallMs = max(f.StallMs, o.StallMs)
	f.JitterMs = max(f.JitterMs, o.JitterMs)
	f.MachineDropped += o.MachineDropped
	f.Overflowed += o.Overflowed
	if f.FirstError == "" {
		f.FirstError = o.FirstError
	}
}

// Clean says that the network lost nothing.
func (f Figures) Clean() bool {
	return f.Lost <= f.MachineDropped && f.WrongSource == 0 && f.Broken == 0 && f.Sent > 0
}

// PathLoss is what one path lost.
type PathLoss struct {
	Path string `json:"path"`
	Size string `json:"size"`
	Figures
	Streams []loss.Stream `json:"-"`
}

// Loss is what a measurement over several paths came to.
type Loss struct {
	Figures
	Paths []PathLoss `json:"-"`
}

// Add adds o to l.
func (l *Loss) Add(o Loss) {
	l.Figures.Add(o.Figures)
	l.Paths = append(l.Paths, o.Paths...)
}

// Probe is a path and the size of the packets on it: bytes of UDP payload, or loss.SizeMax.
type Probe struct {
	Path
	Size int
}

// Of returns a probe of each path with packets of one size.
func Of(size int, paths ...Path) []Probe {
	var out []Probe
	for _, p := range paths {
		out = append(out, Probe{p, size})
	}
	return out
}

// rate is packets per second of each stream, each way.
const rate = 1000

// Measure counts what is lost on paths, on all of them at once, while during runs: long-lived and new-port streams and TCP. The
// error is about measuring or that of during; the figures are complete with the latter.
func (w *World) Measure(ctx context.Context, probes []Probe, during func(context.Context) error) (Loss, error) {
	if len(probes) == 0 {
		return Loss{}, errors.New("measure: no paths")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g := &gate{missing: len(probes), open: make(chan struct{}), during: during}
	results, errs := make([]PathLoss, len(probes)), make([]error, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() {
			if results[i], errs[i] = w.measureOne(ctx, p, g); errs[i] != nil {
				// The others would wait for this one.
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	var sum Loss
	for i, r := range results {
		figures := r.Figures
		if i > 0 {
			// The counter is the machine's: each path has seen the same one.
			figures.MachineDropped = 0
		}
		sum.Figures.Add(figures)
		sum.Figures.MachineDropped = max(sum.Figures.MachineDropped, r.Figures.MachineDropped)
	}
	sum.Paths = results
	if g.err != nil {
		return sum, g.err
	}
	return sum, errors.Join(errs...)
}

// measureOne measures one path. What the machine was too busy to read is in the figures and no error.
func (w *World) measureOne(ctx context.Context, p Probe, g *gate) (PathLoss, error) {
	out := PathLoss{Path: p.Path.String(), Size: "64"}
	if p.Size == loss.SizeMax {
		out.Size = "max"
	}
	from, err := w.endpoint(p.From)
	if err != nil {
		return out, err
	}
	to, err := w.endpoint(p.To)
	if err != nil {
		return out, err
	}
	opts := loss.Options{From: from, To: to, Rate: rate, Size: p.Size, TCP: true, During: g.pass}
	if p.NodePort != "" {
		node, err := w.endpoint(p.NodePort)
		if err != nil {
			return out, err
		}
		opts.NodePort = &loss.NodePort{Node: node}
	}
	r, err := loss.Run(ctx, opts)
	out.Figures = Figures{
		Sent: r.Sent, Lost: r.Lost, WrongSource: r.WrongSource, Broken: r.Broken, GapMs: r.LongestGapMs, StallMs: r.TCPStallMs,
		JitterMs: r.JitterMs, MachineDropped: r.MachineDropped, Overflowed: r.Overflowed, FirstError: r.FirstError,
	}
	out.Streams = r.Streams
	var command *loss.CommandError
	var overload *loss.OverloadError
	if err != nil && !errors.As(err, &command) && !errors.As(err, &overload) {
		return out, fmt.Errorf("%s: %w", p.Path, err)
	}
	return out, nil
}

// gate has several measurements span the same thing: it happens once all of them have warmed up.
type gate struct {
	mu      sync.Mutex
	missing int
	open    chan struct{}
	during  func(context.Context) error
	err     error
}

// pass is what each measurement calls. The last one to come does it for all.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	g.missing--
	last := g.missing == 0
	g.mu.Unlock()
	if last {
		g.err = g.during(ctx)
		close(g.open)
		return nil
	}
	select {
	case <-g.open:
	case <-ctx.Done():
	}
	return nil
}

// endpoint is a pod, a node or the client as the loss probe has it.
func (w *World) endpoint(name string) (loss.Endpoint, error) {
	netns, err := w.Lab.NetNS(name)
	if err != nil {
		return loss.Endpoint{}, err
	}
	addrs, err := w.Lab.Addrs(name)
	if err != nil {
		return loss.Endpoint{}, err
	}
	if len(addrs) == 0 {
		return loss.Endpoint{}, fmt.Errorf("%s has no address", name)
	}
	e := loss.Endpoint{Name: name, NetNS: netns, Addr: addrs[0]}
	nodes, err := w.Lab.Nodes()
	if err != nil {
		return e, err
	}
	if slices.ContainsFunc(nodes, func(n lab.Node) bool { return n.Name == name }) { // speaks to pods with its stable address
		e.Underlay = addrs[0]
		e.Addr, err = w.Lab.StableAddr(name)
	}
	return e, err
}
