package rollout

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Change is a spec to be applied.
type Change struct {
	// Name is what figures are printed under.
	Name string
	// Backend is spec.backend in YAML. Required.
	Backend string
	// MTU is spec.mtu; 0: left out.
	MTU int
	// Rollout is spec.rollout in YAML; empty: left out.
	Rollout string
	// Near is the device that packets between nodes of one segment leave by, Far the same across the router; empty: not checked.
	Near, Far string
}

// The changes that scenarios are made of. All has the segment's nodes and the routed one; Segment is without the latter.
var (
	vxlan    = Change{Name: "vxlan", Backend: "{type: vxlan}", Near: "hs1-8472", Far: "hs1-8472"}
	verified = Change{Name: "Verified", Backend: "{type: vxlan, vxlan: {directRouting: Verified}}", Near: "eth0", Far: "hs1-8472"}
	vni7     = Change{Name: "VNI 7, port 4789", Backend: "{type: vxlan, vxlan: {vni: 7, port: 4789}}", Near: "hs7-4789", Far: "hs7-4789"}
	udp      = Change{Name: "udp", Backend: "{type: udp}", Near: "hsu8285", Far: "hsu8285"}
	onLink   = Change{Name: "OnLink", Backend: "{type: vxlan, vxlan: {directRouting: OnLink}}", Near: "eth0", Far: "hs1-8472"}
	hostGW   = Change{Name: "host-gw", Backend: "{type: host-gw}", Near: "eth0"}
)

// Chain are the steps with a node behind the router; the network is VXLAN before.
func Chain() []Change { return []Change{verified, vni7, udp, vxlan, onLink, vxlan} }

// SegmentChain are the steps on a segment alone; the network is VXLAN before.
func SegmentChain() []Change {
	return []Change{verified, vni7, udp, vxlan, onLink, hostGW, udp, hostGW, vxlan}
}

// YAML is the NetworkConfig.
func (c Change) YAML() string {
	var b strings.Builder
	b.WriteString("apiVersion: net.hopsack.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {name: default}\nspec:\n  network: 10.244.0.0/16\n  podCIDRs: Ignore\n")
	fmt.Fprintf(&b, "  backend: %s\n", c.Backend)
	if c.MTU > 0 {
		fmt.Fprintf(&b, "  mtu: %d\n", c.MTU)
	}
	if c.Rollout != "" {
		fmt.Fprintf(&b, "  rollout: %s\n", c.Rollout)
	}
	return b.String()
}

// Timing is how long a change took.
type Timing struct {
	// KubectlMs is until kubectl returned; TotalMs, from the same start, until Ready was seen.
	KubectlMs float64 `json:"kubectlMs"`
	TotalMs   float64 `json:"totalMs"`
	// StartedMs is from the start until the controller took the change up, the following the phases by its own clock, LastMs
	// from the end of the last phase until Ready was seen.
	StartedMs float64            `json:"startedMs"`
	PhasesMs  map[string]float64 `json:"phasesMs"`
	LastMs    float64            `json:"lastMs"`
}

// Apply applies a change as kubectl does and returns the generation it made.
func (w *World) Apply(ctx context.Context, c Change) (generation int64, err error) {
	if _, err := w.Lab.Apply(ctx, c.YAML()); err != nil {
		return 0, err
	}
	cfg, err := w.Config(ctx)
	return cfg.Generation, err
}

// Config reads the NetworkConfig.
func (w *World) Config(ctx context.Context) (v1alpha1.NetworkConfig, error) {
	var cfg v1alpha1.NetworkConfig
	err := w.API.Get(ctx, client.ObjectKey{Name: v1alpha1.NetworkConfigName}, &cfg)
	return cfg, err
}

// NodeNetwork reads a node's NodeNetwork.
func (w *World) NodeNetwork(ctx context.Context, node string) (v1alpha1.NodeNetwork, error) {
	var nn v1alpha1.NodeNetwork
	err := w.API.Get(ctx, client.ObjectKey{Name: node}, &nn)
	return nn, err
}

// Annotate sets an annotation of the NetworkConfig; an empty value removes it.
func (w *World) Annotate(ctx context.Context, key, value string) error {
	text := "null"
	if value != "" {
		text = fmt.Sprintf("%q", value)
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, key, text))
	return w.API.Patch(ctx, &v1alpha1.NetworkConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName}}, patch)
}

// settled returns nil once a generation is in effect everywhere, else what it waits for.
func settled(cfg *v1alpha1.NetworkConfig, generation int64) error {
	if cfg.Generation != generation {
		return fmt.Errorf("generation %d, want %d", cfg.Generation, generation)
	}
	ready := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil || cfg.Status.ObservedGeneration != generation:
		return fmt.Errorf("generation %d has not been seen", generation)
	case ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != generation:
		return fmt.Errorf("%s: %s", ready.Reason, ready.Message)
	case meta.IsStatusConditionTrue(cfg.Status.Conditions, v1alpha1.ConditionProgressing):
		return fmt.Errorf("progressing: %s", ready.Message)
	}
	return nil
}

// AwaitSettled waits until a generation is in effect on every node.
func (w *World) AwaitSettled(ctx context.Context, generation int64) error {
	return w.within(ctx, fmt.Sprintf("generation %d to be in effect", generation), func() (bool, error) {
		cfg, err := w.Config(ctx)
		if err == nil {
			err = settled(&cfg, generation)
		}
		return err == nil, err
	})
}

// AwaitStalled waits until a generation is Stalled and returns reason and message.
func (w *World) AwaitStalled(ctx context.Context, generation int64) (reason, message string, err error) {
	err = w.within(ctx, fmt.Sprintf("generation %d to be Stalled", generation), func() (bool, error) {
		cfg, err := w.Config(ctx)
		if err != nil {
			return false, err
		}
		c := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionStalled)
		if c == nil || c.ObservedGeneration != generation || c.Status != metav1.ConditionTrue {
			ready := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionReady)
			if ready != nil {
				err = fmt.Errorf("%s: %s", ready.Reason, ready.Message)
			}
			return false, err
		}
		reason, message = c.Reason, c.Message
		return true, nil
	})
	return reason, message, err
}

// Settle applies a change, waits until it is in effect, and proves by the kernel's routes that it is.
func (w *World) Settle(ctx context.Context, c Change) (Timing, error) {
	rec, stop := w.record(ctx)
	defer stop()
	start := time.Now()
	generation, err := w.Apply(ctx, c)
	if err != nil {
		return Timing{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	applied := time.Now()
	var ready time.Time
	err = w.soon(ctx, fmt.Sprintf("%s (generation %d) to be in effect", c.Name, generation), func() (bool, error) {
		at, err := rec.settledAt(generation)
		ready = at
		return err == nil, err
	})
	if err != nil {
		return Timing{}, err
	}
	t := rec.timing(generation, start, ready)
	t.KubectlMs = millis(applied.Sub(start))
	return t, w.takesEffect(ctx, c)
}

// soon is within with short pauses, for what is timed.
func (w *World) soon(ctx context.Context, desc string, done func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, err := done()
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: %w", desc, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", desc, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// takesEffect proves that packets go the way of the change.
func (w *World) takesEffect(ctx context.Context, c Change) error {
	check := func(node, pod, want string) error {
		if _, err := w.Lab.PodIP(pod); err != nil || want == "" {
			return nil // a world without that pod
		}
		return w.within(ctx, fmt.Sprintf("%s: packets from %s to %s to leave by %s", c.Name, node, pod, want), func() (bool, error) {
			got, err := w.deviceOf(ctx, node, pod)
			if err == nil && got != want {
				err = fmt.Errorf("they leave by %s", got)
			}
			return err == nil, err
		})
	}
	for _, pair := range [][2]string{{"n1", "p2"}, {"n2", "p1"}} {
		if err := check(pair[0], pair[1], c.Near); err != nil {
			return err
		}
	}
	return check("n1", "p3", c.Far)
}

// recorder keeps when things showed in the NetworkConfig.
type recorder struct {
	mu     sync.Mutex
	cfg    v1alpha1.NetworkConfig
	at     map[int64]time.Time
	phases map[int64][]phase
}

// phase is a phase of a rollout and when it began.
type phase struct {
	name  v1alpha1.RolloutPhase
	start time.Time
}

// record follows the NetworkConfig until stop is called.
func (w *World) record(ctx context.Context) (rec *recorder, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	rec = &recorder{at: map[int64]time.Time{}, phases: map[int64][]phase{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			rec.follow(ctx, w.API)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return rec, func() {
		cancel()
		wg.Wait()
	}
}

// follow reads and watches the NetworkConfig until the watch ends.
func (r *recorder) follow(ctx context.Context, api client.WithWatch) {
	var list v1alpha1.NetworkConfigList
	if err := api.List(ctx, &list); err != nil {
		return
	}
	for i := range list.Items {
		r.see(&list.Items[i])
	}
	watch, err := api.Watch(ctx, &v1alpha1.NetworkConfigList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if cfg, ok := event.Object.(*v1alpha1.NetworkConfig); ok {
			r.see(cfg)
		}
	}
}

// see takes one state of the NetworkConfig.
func (r *recorder) see(cfg *v1alpha1.NetworkConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg = *cfg
	if settled(cfg, cfg.Generation) == nil && r.at[cfg.Generation].IsZero() {
		r.at[cfg.Generation] = time.Now()
	}
	s := cfg.Status.Rollout
	if s == nil || s.PhaseStartedAt == nil {
		return
	}
	seen := r.phases[s.Generation]
	if len(seen) == 0 || seen[len(seen)-1].name != s.Phase {
		r.phases[s.Generation] = append(seen, phase{s.Phase, s.PhaseStartedAt.Time})
	}
}

// settledAt is when a generation was seen to be in effect; the error says why it is not yet.
func (r *recorder) settledAt(generation int64) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.at[generation]; !at.IsZero() {
		return at, nil
	}
	return time.Time{}, settled(&r.cfg, generation)
}

// timing splits the time from start until ready.
func (r *recorder) timing(generation int64, start, ready time.Time) Timing {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := Timing{TotalMs: millis(ready.Sub(start)), PhasesMs: map[string]float64{}}
	phases := r.phases[generation]
	for i, p := range phases {
		switch {
		case i == 0:
			t.StartedMs = millis(p.start.Sub(start))
			fallthrough
		default:
			if i+1 < len(phases) {
				t.PhasesMs[string(p.name)] += millis(phases[i+1].start.Sub(p.start))
			} else {
				t.LastMs = millis(ready.Sub(p.start))
			}
		}
	}
	return t
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
