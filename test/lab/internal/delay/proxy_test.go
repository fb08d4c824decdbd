package delay

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// watchServer plays the API server: a watch delivers one line every time send gets a value; anything else is answered at once.
func watchServer(t *testing.T, send chan string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%s came without the agent's credentials", r.URL)
		}
		if r.URL.Query().Get("watch") == "" {
			fmt.Fprintln(w, "at once")
			return
		}
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case line := <-send:
				fmt.Fprintln(w, line)
				w.(http.Flusher).Flush()
			}
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestWatchesArriveLate(t *testing.T) {
	send := make(chan string)
	backend := watchServer(t, send)
	var lag atomic.Int64
	handler, err := New(&rest.Config{Host: backend.URL, BearerToken: "secret"}, func() Delays {
		return Delays{"subnetleases": time.Duration(lag.Load())}
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	open := func(path string) *bufio.Scanner {
		resp, err := http.Get(front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return bufio.NewScanner(resp.Body)
	}
	next := func(s *bufio.Scanner) string {
		if !s.Scan() {
			t.Fatalf("the stream ended: %v", s.Err())
		}
		return s.Text()
	}
	lag.Store(int64(300 * time.Millisecond))
	slow := open("/apis/net.hopsack.dev/v1alpha1/subnetleases?watch=true")
	start := time.Now()
	for _, line := range []string{"one", "two"} {
		send <- line
	}
	for _, want := range []string{"one", "two"} {
		if got := next(slow); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("arrived after %s, want 300 ms or more", took)
	}
	if got := next(open("/apis/net.hopsack.dev/v1alpha1/subnetleases")); got != "at once" {
		t.Errorf("a request that is no watch: got %q", got)
	}
	// What is under way when the delay ends arrives then.
	lag.Store(int64(time.Hour))
	send <- "three"
	time.Sleep(50 * time.Millisecond)
	lag.Store(0)
	if got := next(slow); got != "three" {
		t.Errorf("got %q, want three", got)
	}
}

func TestOtherWatchesPass(t *testing.T) {
	send := make(chan string)
	backend := watchServer(t, send)
	handler, err := New(&rest.Config{Host: backend.URL, BearerToken: "secret"}, func() Delays { return Delays{"subnetleases": time.Hour} })
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	resp, err := http.Get(front.URL + "/apis/net.hopsack.dev/v1alpha1/nodenetworks?watch=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	send <- "now"
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "now\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestServeRefusesOtherCallers(t *testing.T) {
	if err := Serve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "for the lab itself") {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := Serve(t.Context(), []string{"/no/such/file", "/x"}); err == nil {
		t.Error("served without credentials")
	}
}
