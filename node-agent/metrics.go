package nodeagent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
	"github.com/hopsack-net/hopsack/node-agent/udp"
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
	probes   *prometheus.CounterVec
	paths    *prometheus.GaugeVec
	failing  prometheus.Gauge
	reverts  prometheus.Counter
	unproven prometheus.Gauge
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
	m.probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hopsack_agent_probes_total", Help: "Peers asked, by path and by what came of it.",
	}, []string{"kind", "result"})
	m.paths = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hopsack_agent_paths", Help: "Peers by how packets go to them.",
	}, []string{"path"})
	m.failing = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hopsack_agent_peers_failing", Help: "Peers that some revision was probed to and does not reach.",
	})
	m.reverts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hopsack_agent_reverts_total", Help: "Times the node left a revision by itself because peers were not reached any more.",
	})
	m.unproven = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hopsack_agent_unproven", Help: "1 while no pod is started because too few peers answer.",
	})
	m.registry.MustRegister(m.probes, m.paths, m.failing, m.reverts, m.unproven, m.duration, m.failures, m.changes, m.peers, m.doubtful, m.ready,
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
	m.paths.WithLabelValues("direct").Set(float64(o.counts.Direct))
	m.paths.WithLabelValues("encapsulated").Set(float64(o.counts.Encapsulated))
	failing := int32(0)
	for _, v := range o.results.Verifications {
		failing += v.FailingCount
	}
	m.failing.Set(float64(failing))
	m.unproven.Set(0)
	if o.unproven {
		m.unproven.Set(1)
	}
	ready := 0.0
	if o.err == nil && o.applied {
		ready = 1
	} else if o.err != nil {
		m.failures.Inc()
	}
	m.ready.Set(ready)
}

// probed records that a peer was asked.
func (m *metrics) probed(kind desired.ProbeKind, a probe.Answer) {
	result := "failed"
	switch {
	case a.OK:
		result = "answered"
	case a.Unprepared:
		result = "unprepared"
	}
	m.probes.WithLabelValues(string(kind), result).Inc()
}

// countTunnels shows the counters of the udp backend's tunnels.
func (m *metrics) countTunnels(stats func() []udp.Stat) {
	m.registry.MustRegister(tunnelCollector{stats})
}

// tunnelCollector reads the tunnels when it is asked.
type tunnelCollector struct{ stats func() []udp.Stat }

var (
	tunnelPackets = prometheus.NewDesc("hopsack_agent_udp_packets_total", "Packets that udp tunnels carried.", []string{"device", "direction"}, nil)
	tunnelBytes   = prometheus.NewDesc("hopsack_agent_udp_bytes_total", "Bytes of those packets.", []string{"device", "direction"}, nil)
	tunnelDropped = prometheus.NewDesc("hopsack_agent_udp_dropped_total", "Packets that udp tunnels did not carry.", []string{"device", "reason"}, nil)
)

func (c tunnelCollector) Describe(out chan<- *prometheus.Desc) {
	out <- tunnelPackets
	out <- tunnelBytes
	out <- tunnelDropped
}

func (c tunnelCollector) Collect(out chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	for _, s := range c.stats() {
		count(tunnelPackets, s.In.Packets, s.Device, "in")
		count(tunnelPackets, s.Out.Packets, s.Device, "out")
		count(tunnelBytes, s.In.Bytes, s.Device, "in")
		count(tunnelBytes, s.Out.Bytes, s.Device, "out")
		count(tunnelDropped, s.Dropped.UnknownDestination, s.Device, "unknown_destination")
		count(tunnelDropped, s.Dropped.Stranger, s.Device, "stranger")
		count(tunnelDropped, s.Dropped.WrongSource, s.Device, "wrong_source")
		count(tunnelDropped, s.Dropped.Malformed, s.Device, "malformed")
		count(tunnelDropped, s.Dropped.SendError, s.Device, "send_error")
	}
}
