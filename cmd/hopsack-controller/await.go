package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// askAgain is how long an API server that does not answer is left alone, and how long an answer may take.
const askAgain, askTimeout = time.Second, 5 * time.Second

// awaitServer waits until the API server answers, which a manager takes for granted. The process answers probes meanwhile:
// healthy, not ready. One that ended instead would be started again, each time later, and be missing for minutes after the API
// server is back. It returns an error when ctx ends, or when probes cannot be served.
func awaitServer(ctx context.Context, config *rest.Config, probeAddress string, log logr.Logger) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	stop, err := serveWaiting(probeAddress)
	if err != nil {
		return err
	}
	defer stop()
	for first := true; ; first = false {
		err := client.RESTClient().Get().AbsPath("/version").Timeout(askTimeout).Do(ctx).Error()
		if answered(err) {
			return nil
		}
		if first {
			log.Info("Waiting for the API server", "server", config.Host, "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w", ctx.Err())
		case <-time.After(askAgain):
		}
	}
}

// answered says that err, of a request, is the word of a server that works; what it refuses is for others to report.
func answered(err error) bool {
	var status apierrors.APIStatus
	return err == nil || errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsTooManyRequests(err)
}

// serveWaiting answers probes until it is stopped; the address "0" means that there are none.
func serveWaiting(address string) (stop func(), err error) {
	if address == "0" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for probes: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the API server does not answer", http.StatusServiceUnavailable)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: askTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}
