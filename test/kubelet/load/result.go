package load

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// maxErrors is how many failed requests are told in full.
const maxErrors = 8

// Row is what came of the requests of one kind over one sort of connections.
type Row struct {
	Kind Kind `json:"kind"`
	// Connections are kept or new.
	Connections string  `json:"connections"`
	Requests    int     `json:"requests"`
	Failed      int     `json:"failed"`
	P50Ms       float64 `json:"p50Ms"`
	P99Ms       float64 `json:"p99Ms"`
	SlowestMs   float64 `json:"slowestMs"`
}

// Result is one measurement. Times are from when the generator handed a request out until its answer was read, and are of
// requests that were answered.
type Result struct {
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	// SlowestMs is the largest of the rows.
	SlowestMs float64 `json:"slowestMs"`
	// LateMs is how late the generator itself was at most in handing out a request: a time not longer than this may be its own.
	LateMs float64 `json:"lateMs"`
	// Skipped are requests it left out because it was too late. They are in nothing else.
	Skipped int64 `json:"skipped,omitempty"`
	// Pods is how many pods have answered.
	Pods int   `json:"pods"`
	Rows []Row `json:"rows"`
	// Errors tell the first failed requests.
	Errors []string `json:"errors,omitempty"`
}

// window is a measurement that goes on.
type window struct {
	start time.Time

	mu      sync.Mutex
	idle    sync.Cond
	open    int
	late    time.Duration
	skipped int64
	rows    map[rowKey]*rowSamples
	pods    map[string]bool
	errors  []string
}

type rowKey struct {
	kind        Kind
	connections string
}

type rowSamples struct {
	times  []time.Duration
	failed int
}

func newWindow() *window {
	w := &window{start: time.Now(), rows: map[rowKey]*rowSamples{}, pods: map[string]bool{}}
	w.idle.L = &w.mu
	return w
}

// begin counts a request that is handed out.
func (w *window) begin(late time.Duration, skipped int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	w.late = max(w.late, late)
	w.skipped += skipped
}

// end counts its outcome. Requests that ended with their generator are nobody's.
func (w *window) end(s *stream, began time.Time, body string, err error, stopped bool) {
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.idle.Broadcast()
	w.open--
	if err != nil && stopped {
		return
	}
	key := rowKey{s.client.Kind, s.connections()}
	row := w.rows[key]
	if row == nil {
		row = &rowSamples{}
		w.rows[key] = row
	}
	if err == nil {
		row.times = append(row.times, took)
		w.pods[body] = true
		return
	}
	row.failed++
	if len(w.errors) < maxErrors {
		w.errors = append(w.errors, fmt.Sprintf("%.3f s: %s to %s, %s connection, after %s: %v",
			began.Sub(w.start).Seconds(), s.client.Name, s.client.Target, s.connections(), took.Round(time.Millisecond), err))
	}
}

// finish waits for the answers of all requests of the window, which nothing is added to any more.
func (w *window) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open > 0 {
		w.idle.Wait()
	}
}

// result sums up a window that is finished.
func (w *window) result(took time.Duration) Result {
	out := Result{
		Seconds: math.Round(took.Seconds()*10) / 10, LateMs: millis(w.late), Skipped: w.skipped, Pods: len(w.pods), Errors: w.errors,
	}
	for _, kind := range []Kind{FromPods, FromOutside, FromNodes} {
		for _, connections := range []string{"kept", "new"} {
			samples := w.rows[rowKey{kind, connections}]
			if samples == nil {
				continue
			}
			slices.Sort(samples.times)
			row := Row{
				Kind: kind, Connections: connections, Requests: len(samples.times) + samples.failed, Failed: samples.failed,
				P50Ms: quantile(samples.times, 0.5), P99Ms: quantile(samples.times, 0.99), SlowestMs: quantile(samples.times, 1),
			}
			out.Requests += row.Requests
			out.Failed += row.Failed
			out.SlowestMs = max(out.SlowestMs, row.SlowestMs)
			out.Rows = append(out.Rows, row)
		}
	}
	return out
}

// quantile is the smallest of sorted times that at least the share q of all do not exceed, in milliseconds.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	return millis(times[max(0, int(math.Ceil(q*float64(len(times))))-1)])
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
