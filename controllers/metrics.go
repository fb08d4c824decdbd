package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Metrics are the controller's own. Those of the work queue, the leader election and the API client come from
// controller-runtime.
type Metrics struct {
	leases   *prometheus.GaugeVec
	subnets  *prometheus.GaugeVec
	nodes    *prometheus.GaugeVec
	duration prometheus.Histogram
	writes   *prometheus.CounterVec
	failures prometheus.Counter

	phases   *prometheus.HistogramVec
	stalls   *prometheus.CounterVec
	progress *prometheus.GaugeVec
	pairs    *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		leases: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hopsack_leases", Help: "SubnetLeases by state: the reason of their condition Ready.",
		}, []string{"state"}),
		subnets: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hopsack_subnets", Help: "Subnets between subnetMin and subnetMax by state: used (held by a lease in whatever state) or free.",
		}, []string{"state"}),
		nodes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hopsack_nodes", Help: "Nodes by state: ready (the agent reports a working data path for the present spec), not-ready, or exhausted (waiting for a subnet).",
		}, []string{"state"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hopsack_pass_duration_seconds", Help: "How long a pass over the cluster took, its writes included.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30},
		}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hopsack_writes_total", Help: "Successful writes to the API server by kind and verb (create, update, delete, status).",
		}, []string{"kind", "verb"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hopsack_write_failures_total", Help: "Writes and live reads that failed, conflicts included.",
		}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hopsack_rollout_phase_duration_seconds", Help: "How long rollouts stayed in a phase.",
			Buckets: []float64{.1, .3, 1, 3, 10, 30, 100, 300, 1000, 3000},
		}, []string{"phase"}),
		stalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hopsack_rollout_failures_total", Help: "Times a rollout stalled, by the reason of the condition Stalled.",
		}, []string{"reason"}),
		progress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hopsack_rollout_nodes", Help: "Nodes by how far they are with the target revision: live, prepared, verified or switched.",
		}, []string{"state"}),
		pairs: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hopsack_rollout_pairs", Help: "Pairs of nodes by state: failing (the target was not proven) or encapsulated (on one segment, but not reached directly).",
		}, []string{"state"}),
	}
	for _, c := range []prometheus.Collector{
		m.leases, m.subnets, m.nodes, m.duration, m.writes, m.failures, m.phases, m.stalls, m.progress, m.pairs,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe records what a pass saw and did.
func (m *Metrics) observe(p *pass, elapsed time.Duration) {
	m.duration.Observe(elapsed.Seconds())
	m.failures.Add(float64(len(p.errs)))
	for key, n := range p.writes {
		m.writes.WithLabelValues(key.kind, key.verb).Add(float64(n))
	}
	states := map[string]int{}
	for _, l := range p.snap.leases {
		states[readyReason(l.Status.Conditions)]++
	}
	m.leases.Reset()
	for state, n := range states {
		m.leases.WithLabelValues(state).Set(float64(n))
	}
	ready := 0
	for name := range p.cluster.Nodes {
		if nodeReady(p.cluster.NodeNetworks[name]) {
			ready++
		}
	}
	m.nodes.WithLabelValues("ready").Set(float64(ready))
	m.nodes.WithLabelValues("not-ready").Set(float64(len(p.cluster.Nodes) - ready - len(p.leases.Exhausted)))
	m.nodes.WithLabelValues("exhausted").Set(float64(len(p.leases.Exhausted)))
	m.subnets.WithLabelValues("used").Set(float64(p.leases.Used))
	m.subnets.WithLabelValues("free").Set(float64(p.leases.Total - p.leases.Used))
	for state, n := range map[string]int{
		"live": p.step.Live, "prepared": p.step.Prepared, "verified": p.step.Verified, "switched": p.step.Switched,
	} {
		m.progress.WithLabelValues(state).Set(float64(n))
	}
	m.pairs.WithLabelValues("failing").Set(float64(p.step.FailingPairCount))
	m.pairs.WithLabelValues("encapsulated").Set(float64(p.step.EncapsulatedPairCount))
}

// transition records what changed between two versions of status: a phase that ended, and a stall that began.
func (m *Metrics) transition(before, after v1alpha1.NetworkConfigStatus) {
	a, b := before.Rollout, after.Rollout
	if a != nil && b != nil && a.Phase != b.Phase && a.Phase != v1alpha1.PhaseSettled && a.PhaseStartedAt != nil && b.PhaseStartedAt != nil {
		m.phases.WithLabelValues(string(a.Phase)).Observe(b.PhaseStartedAt.Sub(a.PhaseStartedAt.Time).Seconds())
	}
	if reason := stallReason(after.Conditions); reason != "" && reason != stallReason(before.Conditions) {
		m.stalls.WithLabelValues(reason).Inc()
	}
}
