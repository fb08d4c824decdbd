package nodeagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/rewind"
	"github.com/hopsack-net/hopsack/node-agent/cniconf"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/monitor"
	"github.com/hopsack-net/hopsack/node-agent/probe"
	"github.com/hopsack-net/hopsack/node-agent/store"
	"github.com/hopsack-net/hopsack/node-agent/udp"
)

const (
	// resyncEvery is the time between full passes that nothing asked for, jittered by a tenth: the backstop for what sends
	// no event (iptables-legacy).
	resyncEvery = 60 * time.Second
	// retryAfter is when a pass that failed is tried again without an event, doubled up to retryMax.
	retryAfter = 200 * time.Millisecond
	retryMax   = 10 * time.Second
	// keepLoose is how long rp_filter stays loose after the paths of this node have become symmetric again. The resync after
	// that gives it back.
	keepLoose = 30 * time.Second
	// logEvery is the least time between two lines about changes: a program that fights over the node's network must not
	// fill the log as well. What is held back is in the next line, at the latest that of a resync.
	logEvery = time.Second
	// touchEvery is how often the state on disk is written again though nothing changed, so that its time says how fresh
	// it is.
	touchEvery = time.Hour
)

// Options are what an Agent needs.
type Options struct {
	// NodeName is the name of the Node; required.
	NodeName string
	// Config is how to reach the API server; required.
	Config *rest.Config
	// StateDir keeps what must survive a reboot; required.
	StateDir string
	// Paths are the files other programs read; required.
	Paths desired.Paths
	// MetricsAddress and HealthAddress are host:port to listen on; "" or "0" switches one off.
	MetricsAddress string
	HealthAddress  string
	// BootIDFile says which boot of the node this is; "" means the kernel's.
	BootIDFile string
	// ProcSys is where sysctls are; "" means /proc/sys. In a container that is read-only, and the host's is mounted elsewhere.
	ProcSys string
	// CNIBinDir is where the container runtime looks for CNI plugins, which the agent then installs from CNISource and removes with
	// the network; "" means that somebody else does.
	CNIBinDir, CNISource string
	// Log is where the agent says what it does.
	Log logr.Logger
}

// DefaultBootIDFile is where the kernel tells one boot from another.
const DefaultBootIDFile = "/proc/sys/kernel/random/boot_id"

// validate names the option that is missing.
func (o Options) validate() error {
	for name, value := range map[string]string{
		"NodeName": o.NodeName, "StateDir": o.StateDir,
		"Paths.Handoff": o.Paths.Handoff, "Paths.Conflist": o.Paths.Conflist, "Paths.SubnetEnv": o.Paths.SubnetEnv,
	} {
		if value == "" {
			return fmt.Errorf("agent option %s is empty", name)
		}
	}
	if o.Config == nil {
		return errors.New("agent option Config is missing")
	}
	return nil
}

// Agent runs the loop of one node.
type Agent struct {
	opts      Options
	log       logr.Logger
	bootID    string
	view      *view
	conns     *connections
	watch     watcher
	reporter  *reporter
	dataplane *dataplane.Dataplane
	kernel    routeReader
	monitor   *monitor.Monitor
	metrics   *metrics
	health    health
	wake      trigger
	prober    pathProber
	tunnels   tunnels
	plugins   plugins
	verifier  *verifier
	memory    memory
	// again is when a pass is due though nothing happens: devices that are not wanted any more linger a moment.
	again time.Duration

	// lastFacts are the last complete ones: they stay in force while the underlay is missing.
	lastFacts desired.Facts
	// unlogged are changes since the last line about changes, at logged.
	unlogged dataplane.Changes
	logged   time.Time
	// failing says that the last pass failed, so that recovery is logged once.
	failing bool
	// unsettled says that the last pass did not leave paths as they are probed.
	unsettled bool
}

// New returns an agent that has touched neither the kernel nor the API.
func New(opts Options) (*Agent, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	boot, err := os.ReadFile(cmp.Or(opts.BootIDFile, DefaultBootIDFile))
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	config := rest.CopyConfig(opts.Config)
	conns := trackConnections(config)
	guard := rewind.New(config)
	apiClient, objects, err := newClient(config, opts.NodeName)
	if err != nil {
		return nil, err
	}
	dp, err := dataplane.New(dataplaneOptions(opts))
	if err != nil {
		return nil, err
	}
	kernel, err := dataplane.NewNetlink()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		unlogged: dataplane.Changes{}, kernel: kernel, opts: opts, log: opts.Log, bootID: strings.TrimSpace(string(boot)),
		view: newView(), conns: conns, reporter: newReporter(apiClient, opts.Log), dataplane: dp, metrics: newMetrics(), wake: newTrigger(),
		prober: &lastingProber{make: func() pathProber { return probe.New(opts.Log) }}, tunnels: udp.New(opts.Log),
		plugins: plugins{from: opts.CNISource, to: opts.CNIBinDir, log: opts.Log},
	}
	a.verifier = newVerifier(a.prober, a.wake.kick, a.metrics, opts.Log)
	a.metrics.countTunnels(a.tunnels.Stats)
	watched := []string{opts.Paths.Handoff, opts.Paths.SubnetEnv, filepath.Dir(opts.Paths.Conflist) + "/"} // another network's file there matters, too
	if opts.CNIBinDir != "" {
		watched = append(watched, opts.CNIBinDir+"/")
	}
	a.monitor, err = monitor.New(monitor.Options{Log: opts.Log, Paths: watched})
	if err != nil {
		return nil, err
	}
	a.watch = watcher{
		cache: objects, view: a.view, nodeName: opts.NodeName, changed: a.wake.kick, nodeReplaced: a.reporter.forget, log: opts.Log,
		client: apiClient, guard: guard,
	}
	return a, nil
}

// Run works until ctx ends. It leaves the kernel as it is: pods go on talking without the agent. It returns
// rewind.ErrRewound when the API server's history went back: a new process must start from a new list.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.restore(); err != nil {
		a.log.Error(err, "Reading the state on disk")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.watch.cache.Start(ctx) })
	group.Go(func() error { return a.watch.run(ctx) })
	group.Go(func() error { return a.monitor.Run(ctx) })
	group.Go(func() error { a.reporter.run(ctx); return nil })
	group.Go(func() error { return a.serve(ctx) })
	group.Go(func() error { a.verifier.run(ctx); return nil })
	group.Go(func() error { a.loop(ctx); return nil })
	err := group.Wait()
	return errors.Join(err, a.tunnels.Close(), a.prober.Close(), a.plugins.leave(a.opts.Paths))
}

// restore takes up what an earlier process saved, if it is young enough: a node that boots while the API server is gone
// comes up with the network it had.
func (a *Agent) restore() error {
	content, found, err := store.Load(a.opts.StateDir)
	if err != nil || !found {
		return err
	}
	retention := time.Duration(content.Node.Spec.RetentionSeconds) * time.Second
	if age := time.Since(content.SavedAt); age > retention || content.Node.Name != a.opts.NodeName {
		a.log.Info("Ignored the state on disk", "age", age.String(), "node", content.Node.Name)
		return nil
	}
	a.view.restore(content)
	a.remember(content, a.view.take(time.Now()))
	a.log.Info("Restored the state on disk", "leases", len(content.Leases), "savedAt", content.SavedAt)
	a.wake.kick()
	return nil
}

// loop runs a pass whenever something may have changed.
func (a *Agent) loop(ctx context.Context) {
	resync := time.NewTimer(jitter(resyncEvery))
	touched := time.Now()
	retry, pause := time.NewTimer(time.Hour), retryAfter
	again := time.NewTimer(time.Hour)
	defer resync.Stop()
	defer retry.Stop()
	defer again.Stop()
	for {
		full := false
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case e := <-a.monitor.Events():
			full = e.Full
		case <-again.C:
		case <-retry.C:
			full = true
		case <-resync.C:
			full = true
			resync.Reset(jitter(resyncEvery))
			if time.Since(touched) > touchEvery {
				a.view.touch()
				touched = time.Now()
			}
		}
		err := a.pass(ctx, full)
		if again.Stop(); a.again > 0 {
			again.Reset(a.again)
		}
		if err != nil {
			retry.Reset(pause)
			pause = min(2*pause, retryMax)
			continue
		}
		retry.Stop()
		pause = retryAfter
	}
}

// jitter spreads d by a tenth either way.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5)
}

// pass brings the node to the desired state once, and reports.
func (a *Agent) pass(ctx context.Context, full bool) error {
	started := time.Now()
	a.health.busySince.Store(started.UnixNano())
	defer a.health.busySince.Store(0)
	if n := a.conns.closeStranded(); n > 0 {
		a.log.Info("Ended connections from an address that is gone", "deleted", n)
	}
	o := outcome{view: a.view.take(started), bootID: a.bootID}
	if o.view.Node == nil || !o.view.Listed {
		return nil // what is in the kernel may be right: an agent that starts without its state takes no route away meanwhile
	}
	a.decide(&o)
	// A teardown is never on disk: what comes after it, such as peers that leave too, would be left there by an agent that ends
	// before it has removed that again. Who ends before it is done finds the network on disk, and is asked again.
	if !o.view.Parsed.Teardown {
		if err := a.save(started); err != nil {
			a.log.Error(err, "Saving the objects") // the data path matters more
		}
	}
	a.readFacts(&o)
	a.apply(ctx, &o, full)
	a.unsettled = !o.applied || errors.Join(o.syncErr, o.tunnelErr, o.probeErr) != nil
	var err error
	if o.cni, err = cniconf.Look(a.opts.Paths.Conflist); err != nil {
		o.err = errors.Join(o.err, err)
	}
	a.logOutcome(o)
	a.metrics.pass(o, time.Since(started))
	a.health.ready.Store(o.applied && o.err == nil && !o.cleanedUp)
	a.report(ctx, o)
	return o.err
}

// save writes the objects before the kernel is touched: what is in the kernel is then always on disk, too.
func (a *Agent) save(now time.Time) error {
	content, due := a.view.toSave(now)
	if !due {
		return nil
	}
	content.Agent = a.memory.stored()
	if err := store.Save(a.opts.StateDir, content); err != nil {
		a.view.touch()
		return err
	}
	return nil
}

// readFacts fills in the local facts. Without an underlay the last ones stay in force, and the report says so.
func (a *Agent) readFacts(o *outcome) {
	node := o.view.Parsed
	if node.Teardown || node.Transmit == nil {
		return
	}
	facts, err := readFacts(a.kernel, node.Transmit.Interface, node.InternalIPs, dataplane.IsOwnLink)
	if err == nil {
		a.lastFacts = facts
		o.facts = facts
		return
	}
	o.facts = a.lastFacts
	if errors.As(err, &noInterfaceError{}) {
		o.factsErr = err
	} else {
		o.err = err
	}
}

// apply computes the desired state and brings the kernel to it. Whatever is missing for that leaves the kernel alone.
func (a *Agent) apply(ctx context.Context, o *outcome, full bool) {
	if o.err != nil {
		return
	}
	a.again = 0
	var want desired.State
	if o.view.Parsed.Teardown {
		o.err = a.leave()
	} else {
		state, problems := desired.Compute(desired.Input{
			Node: o.view.Parsed, Peers: o.view.Peers, Facts: o.facts, Paths: a.opts.Paths, Direct: o.results.Direct,
			NoNewPods: o.view.NoSubnet || !o.view.published() || o.unproven,
		})
		o.problems = problems
		if len(state.Links) == 0 {
			return
		}
		want, o.err = a.plugins.place(state, a.opts.Paths.Conflist)
	}
	a.monitor.SetInterest(monitor.Interest{State: want, Underlay: o.facts.Underlay.Name, OwnPort: a.dataplane.Port()})
	report, err := a.dataplane.Sync(ctx, want, full)
	o.changes, o.syncErr, o.applied, a.again = report.Changes, err, true, report.Again
	o.err = errors.Join(o.err, err)
	o.problems = append(o.problems, report.Problems...)
	switch {
	case !o.view.Parsed.Teardown:
		a.follow(o, want)
	case o.err == nil:
		if o.err = a.plugins.remove(); o.err == nil {
			o.cleanedUp = true
			a.memory = memory{adopted: true}
			o.err = store.Remove(a.opts.StateDir)
		}
	}
}

// dataplaneOptions name the files the data path may remove; subnet.env may be flannel's.
func dataplaneOptions(opts Options) dataplane.Options {
	return dataplane.Options{
		StateDir: opts.StateDir, KeepLoose: keepLoose, ProcSys: opts.ProcSys, PodsDir: handoff.PodsDir(opts.Paths.Handoff),
		OwnedFiles: []dataplane.OwnedFile{
			{Path: opts.Paths.SubnetEnv, Mark: desired.SubnetEnvMark}, {Path: opts.Paths.Conflist}, {Path: opts.Paths.Handoff},
		},
	}
}

// logOutcome logs what changed, the first failure of a series, and one line on recovery.
func (a *Agent) logOutcome(o outcome) {
	for kind, n := range o.changes {
		a.unlogged[kind] += n
	}
	if now := time.Now(); a.unlogged.Total() > 0 && now.Sub(a.logged) > logEvery {
		a.log.Info("Programmed the node", "changes", a.unlogged.String(), "peers", len(o.view.Peers))
		a.unlogged, a.logged = dataplane.Changes{}, now
	}
	if o.err != nil && !a.failing {
		a.log.Error(o.err, "Programming the node")
	}
	if o.err == nil && a.failing {
		a.log.Info("Programming works again")
	}
	a.failing = o.err != nil
}
