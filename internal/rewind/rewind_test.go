package rewind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestGuard(t *testing.T) {
	for name, tc := range map[string]struct {
		seen, now string
		rewound   bool
	}{
		"went on":          {seen: "100", now: "101"},
		"stood still":      {seen: "100", now: "100"},
		"went back":        {seen: "100", now: "99", rewound: true},
		"compared by size": {seen: "99", now: "100"},
		"nothing seen yet": {seen: "", now: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			var down atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if down.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			defer server.Close()
			config := &rest.Config{Host: server.URL}
			guard := New(config)
			web, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() {
				response, err := web.Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			looked := make(chan struct{}, 9)
			done := make(chan error, 1)
			go func() {
				done <- guard.Run(ctx, func() string { looked <- struct{}{}; return tc.seen },
					func(context.Context) (string, error) { return tc.now, nil })
			}()
			ask()
			down.Store(true)
			ask()
			if len(looked) > 0 {
				t.Fatal("looked before the server answered again")
			}
			down.Store(false)
			ask()
			<-looked
			if !tc.rewound {
				cancel()
			}
			if err := <-done; errors.Is(err, ErrRewound) != tc.rewound {
				t.Errorf("Run() = %v, want rewound %t", err, tc.rewound)
			}
		})
	}
}

// A server that answers, and then fails the one question, is asked again.
func TestGuardAsksAgain(t *testing.T) {
	guard := New(&rest.Config{})
	guard.again <- struct{}{}
	tries := 0
	err := guard.Run(t.Context(), func() string { return "5" }, func(context.Context) (string, error) {
		if tries++; tries == 1 {
			return "", fmt.Errorf("not yet")
		}
		return "4", nil
	})
	if !errors.Is(err, ErrRewound) || tries != 2 {
		t.Errorf("Run() = %v after %d tries, want ErrRewound after 2", err, tries)
	}
}
