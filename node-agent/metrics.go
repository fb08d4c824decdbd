package nodeagent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the agent's. Names and meaning are in docs/metrics.md.
type metrics struct {
	registry *prometheus.Registry
	duration prometheus.Histogram
	failures prometheus.Counter
	changes  *prometheus.CounterVec
	peers    prometheus.Gauge
	doubtful prometheus.Gauge
	ready    prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hopsack_agent_pass_duration_seconds", Help: "Time of one pass from objects to kernel.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hopsack_agent_pass_failures_total", Help: "Passes that left something unprogrammed.",
		}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hopsack_agent_changes_total", Help: "Changes made to the node, by kind; in a quiet cluster they are repairs.",
		}, []string{"kind"}),
		peers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hopsack_agent_peers", Help: "Leases held, the node's own included.",
		}),
		doubtful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hopsack_agent_leases_doubtful", Help: "Leases kept although a complete list did not show them.",
		}),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hopsack_agent_ready", Help: "1 when the last pass left the kernel as desired.",
		}),
	}
	m.registry.MustRegister(m.duration, m.failures, m.changes, m.peers, m.doubtful, m.ready,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// pass records one pass.
func (m *metrics) pass(o outcome, took time.Duration) {
	m.duration.Observe(took.Seconds())
	m.peers.Set(float64(len(o.view.Peers)))
	m.doubtful.Set(float64(len(o.view.Doubtful)))
	for kind, n := range o.changes {
		m.changes.WithLabelValues(kind).Add(float64(n))
	}
	ready := 0.0
	if o.err == nil && o.applied {
		ready = 1
	} else if o.err != nil {
		m.failures.Inc()
	}
	m.ready.Set(ready)
}
