package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

// kubeletIdle is the one line of the case. Agents are by node. Only three pods run, which do nothing.
type kubeletIdle struct {
	Bench   string               `json:"bench"`
	Nodes   int                  `json:"nodes"`
	Seconds float64              `json:"seconds"`
	Agents  map[string]usedByOne `json:"agents"`
	// Controllers are by node; one of them leads.
	Controllers map[string]usedByOne `json:"controllers"`
	// Requests of all of hopsack that the API server has taken for hopsack's own objects in the time.
	Requests int `json:"apiRequestsForOwnObjects"`
	// AgentImage and ControllerImage are the archives, not compressed.
	AgentImage      float64 `json:"agent_image_mb"`
	ControllerImage float64 `json:"controller_image_mb"`
}

// usedByOne is what a process used in the time. Received and Sent are bytes of its TCP connections to the API server.
type usedByOne struct {
	RSS      float64 `json:"rss_mb"`
	CPU      float64 `json:"cpu_s"`
	Percent  float64 `json:"cpu_percent"`
	Received int64   `json:"received_bytes"`
	Sent     int64   `json:"sent_bytes"`
	// Requests are those that its own client counted.
	Requests int `json:"api_requests"`
}

// settleTime is how long a cluster that has just come up is left alone first.
const settleTime = 30 * time.Second

// apiServerPort is where the API server listens; connections to its Service end there, too.
const apiServerPort = ":6443"

// watched is a process of hopsack on a node.
type watched struct {
	node, program, metrics string
	rss                    float64
	cpu                    time.Duration
	requests               int
	// received and sent are by local port: a connection that is replaced is another one.
	received, sent map[string]int64
}

func benchKubeletIdle(ctx context.Context, s settings, c *cluster.Cluster) error {
	if err := threePods(ctx, c); err != nil {
		return err
	}
	say("  %s until what has just started is done", settleTime)
	if err := waitFor(ctx, settleTime); err != nil {
		return err
	}
	before, requests, err := watchAll(ctx, c)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := waitFor(ctx, s.idle); err != nil {
		return err
	}
	after, requestsAfter, err := watchAll(ctx, c)
	if err != nil {
		return err
	}
	took := time.Since(start)
	out := kubeletIdle{
		Bench: "kubelet-idle", Nodes: 3, Seconds: round(took.Seconds(), 1), Agents: map[string]usedByOne{}, Controllers: map[string]usedByOne{},
		Requests: requestsAfter - requests,
	}
	for key, b := range before {
		a, ok := after[key]
		if !ok {
			return fmt.Errorf("%s ended meanwhile", key)
		}
		used, err := a.since(b, took)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if b.program == "hopsack-agent" {
			out.Agents[b.node] = used
		} else {
			out.Controllers[b.node] = used
		}
	}
	if out.AgentImage, err = archiveSize(c, "hopsack-agent.tar"); err != nil {
		return err
	}
	if out.ControllerImage, err = archiveSize(c, "hopsack-controller.tar"); err != nil {
		return err
	}
	return emit(out)
}

// watchAll reads what every process of hopsack has used so far, by node, name and process, and the requests for its objects.
func watchAll(ctx context.Context, c *cluster.Cluster) (map[string]watched, int, error) {
	nodes, err := c.Nodes()
	if err != nil {
		return nil, 0, err
	}
	out := map[string]watched{}
	for _, n := range nodes {
		for program, port := range map[string]string{"hopsack-agent": "10472", "hopsack-controller": "10474"} {
			pid, err := c.Sh(ctx, n.Name, "pidof "+program+" || true")
			if err != nil {
				return nil, 0, err
			}
			if pid = strings.TrimSpace(pid); pid == "" && program != "hopsack-agent" {
				continue // two controllers on three nodes
			}
			w := watched{node: n.Name, program: program, metrics: "http://127.0.0.1:" + port + "/metrics"}
			if err := w.read(ctx, c, pid); err != nil {
				return nil, 0, fmt.Errorf("%s of %s: %w", program, n.Name, err)
			}
			out[n.Name+" "+program+" "+pid] = w
		}
	}
	text, err := c.Kubectl(ctx, "get", "--raw", "/metrics")
	if err != nil {
		return nil, 0, err
	}
	requests := sumOf(text, "apiserver_flowcontrol_dispatched_requests_total", `flow_schema="hopsack"`)
	return out, requests, nil
}

// read reads what a process has used so far.
func (w *watched) read(ctx context.Context, c *cluster.Cluster, pid string) error {
	text, err := c.Sh(ctx, w.node, "awk '/^VmRSS:/ {print $2}' /proc/"+pid+"/status; cat /proc/"+pid+"/task/*/schedstat | awk '{n += $1} END {printf \"%.0f\\n\", n}'")
	if err != nil {
		return err
	}
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return fmt.Errorf("read its memory and time: %q", text)
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return err
	}
	ns, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return err
	}
	w.rss, w.cpu = kb/1024, time.Duration(ns)
	if text, err = c.Sh(ctx, w.node, "ss -tinpHO"); err != nil {
		return err
	}
	w.received, w.sent = map[string]int64{}, map[string]int64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if !strings.Contains(line, "pid="+pid+",") || len(fields) < 5 || !strings.HasSuffix(fields[4], apiServerPort) && !strings.HasSuffix(fields[4], ":443") {
			continue
		}
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ":")
			n, err := strconv.ParseInt(value, 10, 64)
			switch {
			case name == "bytes_received" && err == nil:
				w.received[fields[3]] = n
			case name == "bytes_acked" && err == nil:
				w.sent[fields[3]] = n
			}
		}
	}
	if len(w.received) == 0 {
		return fmt.Errorf("it has no connection to the API server: %s", text)
	}
	if text, err = c.Sh(ctx, w.node, "curl --silent --fail "+w.metrics); err != nil {
		return err
	}
	w.requests = sumOf(text, "rest_client_requests_total", "")
	return nil
}

// since is what was used from b on.
func (w watched) since(b watched, took time.Duration) (usedByOne, error) {
	out := usedByOne{
		RSS: round(w.rss, 1), CPU: round((w.cpu - b.cpu).Seconds(), 3), Percent: round(100*(w.cpu-b.cpu).Seconds()/took.Seconds(), 2),
		Requests: w.requests - b.requests,
	}
	for port := range b.received {
		if _, ok := w.received[port]; !ok {
			return out, fmt.Errorf("its connection from %s was replaced: what it carried at last is not counted", port)
		}
	}
	for port, n := range w.received {
		out.Received += n - b.received[port]
	}
	for port, n := range w.sent {
		out.Sent += n - b.sent[port]
	}
	return out, nil
}

// sumOf adds up a metric over those of its labels that contain some text.
func sumOf(text, name, labels string) int {
	total := 0.0
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasPrefix(fields[0], name+"{") || !strings.Contains(fields[0], labels) {
			continue
		}
		if v, err := strconv.ParseFloat(fields[1], 64); err == nil {
			total += v
		}
	}
	return int(total)
}

// archiveSize is the size of an image in MiB.
func archiveSize(c *cluster.Cluster, name string) (float64, error) {
	st, err := os.Stat(c.Image(name))
	if err != nil {
		return 0, err
	}
	return round(float64(st.Size())/mebibyte, 1), nil
}

func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
