package load

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ownNetwork = "/proc/self/ns/net"

// server answers with a name; spoil says what else happens to requests once it was told so.
func server(t *testing.T, spoil http.HandlerFunc) (netip.AddrPort, *atomic.Bool) {
	var spoilt atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoilt.Load() {
			spoil(w, r)
		}
		_, _ = w.Write([]byte("pod\n"))
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()), &spoilt
}

func start(t *testing.T, target netip.AddrPort, rate float64) *Generator {
	g, err := Start(t.Context(), []Client{{Name: "c", Kind: FromNodes, NetNS: ownNetwork, Target: target, Rate: rate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

func wait(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error { return Pause(ctx, d) }
}

func TestNothingFails(t *testing.T) {
	target, _ := server(t, nil)
	g := start(t, target, 200)
	r, err := g.Measure(t.Context(), wait(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != 0 || len(r.Errors) != 0 || r.Pods != 1 || len(r.Rows) != 2 {
		t.Errorf("got %+v, want two rows without a failure", r)
	}
	if int64(r.Requests)+r.Skipped < 300 || r.Requests > 600 {
		t.Errorf("%d requests and %d left out, want about 400", r.Requests, r.Skipped)
	}
	for _, row := range r.Rows {
		if row.P50Ms <= 0 || row.P50Ms > row.P99Ms || row.P99Ms > row.SlowestMs || row.SlowestMs > r.SlowestMs {
			t.Errorf("times of %+v are not in order", row)
		}
	}
}

// Every way in which a request can fail shows, and in the words of what failed.
func TestFailuresAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		spoil http.HandlerFunc
		want  string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "answer: 503 Service Unavailable"},
		"reset":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"closed":  {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, "does not keep the connection"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			target, spoilt := server(t, c.spoil)
			g := start(t, target, 100)
			r, err := g.Measure(t.Context(), func(ctx context.Context) error {
				spoilt.Store(true)
				return Pause(ctx, 500*time.Millisecond)
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Failed == 0 || len(r.Errors) == 0 || !strings.Contains(strings.Join(r.Errors, "\n"), c.want) {
				t.Errorf("got %d failed, %q; want %q", r.Failed, r.Errors, c.want)
			}
		})
	}
}

// A kept connection that the other side closes while nothing is asked is a failure, and not opened again in silence.
func TestKeptConnectionThatBreaksIsAFailure(t *testing.T) {
	var conns []net.Conn
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("pod")) }))
	s.Config.ConnState = nil
	opened := make(chan net.Conn, 64)
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		opened <- c
		return ctx
	}
	s.Start()
	t.Cleanup(s.Close)
	stream := newStream(Client{Name: "c", NetNS: ownNetwork, Target: netip.MustParseAddrPort(s.Listener.Addr().String()), Rate: 1}, true)
	t.Cleanup(stream.close)
	if err := stream.firstAnswers(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range keptConnections {
		conns = append(conns, <-opened)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	var failed []bool
	for range 2 * keptConnections {
		_, err := stream.ask(t.Context(), time.Now())
		failed = append(failed, err != nil)
	}
	want := []bool{true, true, true, true, false, false, false, false}
	if diff := cmp.Diff(want, failed); diff != "" {
		t.Errorf("which requests failed (-want +got):\n%s", diff)
	}
}

// An answer that comes after the end of a measurement counts in it, and not in the next one.
func TestLateAnswersBelongToTheirMeasurement(t *testing.T) {
	target, spoilt := server(t, func(http.ResponseWriter, *http.Request) { time.Sleep(300 * time.Millisecond) })
	g := start(t, target, 40)
	spoilt.Store(true)
	first, err := g.Measure(t.Context(), wait(400*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if first.Requests == 0 || first.Failed != 0 || first.SlowestMs < 300 {
		t.Errorf("got %+v, want answers after 300 ms and more", first)
	}
	for _, row := range first.Rows {
		if row.P50Ms < 300 {
			t.Errorf("half of %s answered within %v ms: they are not all of this measurement", row.Connections, row.P50Ms)
		}
	}
}

func TestSilenceIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, []Client{{Name: "c", Kind: FromPods, NetNS: ownNetwork, Target: netip.MustParseAddrPort("127.0.0.1:1"), Rate: 10}})
	if err == nil || !strings.Contains(err.Error(), "c has no answer from 127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	if _, err := Start(t.Context(), []Client{{Name: "c"}}); err == nil {
		t.Error("a client without a target is accepted")
	}
}

func TestQuantile(t *testing.T) {
	times := []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 40 * time.Millisecond}
	got := []float64{quantile(nil, 1), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1)}
	if diff := cmp.Diff([]float64{0, 2, 40, 40}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
