package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"k8s.io/client-go/rest"
)

// free returns an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func code(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// The controller outlives an API server that is not there yet, or not quite, and answers its kubelet meanwhile.
func TestAwaitServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	server, probes := free(t), free(t)
	done := make(chan error, 1)
	go func() { done <- awaitServer(ctx, &rest.Config{Host: "http://" + server}, probes, testr.New(t)) }()
	for code("http://"+probes+"/healthz") != http.StatusOK {
		if ctx.Err() != nil {
			t.Fatal("the controller is not healthy while it waits")
		}
	}
	if got := code("http://" + probes + "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("readyz while it waits: got %d", got)
	}
	asked := make(chan struct{}, 10)
	listener, err := net.Listen("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	api := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		if len(asked) < 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}}
	api.Start()
	defer api.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(asked) < 2 {
		t.Error("it took a server that is not ready for one that is")
	}
	// The manager wants the port.
	l, err := net.Listen("tcp", probes)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestAwaitServerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := awaitServer(ctx, &rest.Config{Host: "http://" + free(t)}, "0", testr.New(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := awaitServer(t.Context(), &rest.Config{Host: "http://" + free(t)}, taken.Addr().String(), testr.New(t)); err == nil {
		t.Error("the address of the probes is taken, and it said nothing")
	}
}

// A server that refuses answers: whoever asks it next says why.
func TestAwaitServerThatRefuses(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer api.Close()
	if err := awaitServer(t.Context(), &rest.Config{Host: api.URL}, "0", testr.New(t)); err != nil {
		t.Error(err)
	}
}
