package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	}
	for _, c := range []prometheus.Collector{m.leases, m.subnets, m.nodes, m.duration, m.writes, m.failures} {
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
}
