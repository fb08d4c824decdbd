package delay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Command is the hidden subcommand of the helper program that calls Serve.
const Command = "run-delay-proxy"

// Address is where the proxy of a node listens, on that node's loopback device.
const Address = "127.0.0.1:6444"

// HealthPath answers 200 for as long as the proxy runs, whatever the API server does.
const HealthPath = "/delay-proxy/healthz"

// Delays are by resource, such as "subnetleases".
type Delays map[string]time.Duration

// Serve runs the proxy until ctx ends. args are a kubeconfig, whose server and credentials are used, and the path of a file
// with Delays as JSON, which may change meanwhile.
func Serve(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("delay proxy: want a kubeconfig and a file of delays; this command is for the lab itself")
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	handler, err := New(cfg, func() Delays { return read(args[1]) })
	if err != nil {
		return err
	}
	server := &http.Server{Addr: Address, Handler: handler, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// read returns the delays in a file; a file that cannot be read delays nothing.
func read(file string) Delays {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var delays Delays
	if err := json.Unmarshal(raw, &delays); err != nil {
		return nil
	}
	return delays
}

// New returns the proxy to cfg's server. delays is asked whenever something is under way.
func New(cfg *rest.Config, delays func() Delays) (http.Handler, error) {
	target, err := url.Parse(cfg.Host)
	if err != nil {
		return nil, fmt.Errorf("parse server: %w", err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make transport: %w", err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			if resource, ok := watched(resp.Request.URL); ok {
				resp.Body = late(resp.Body, func() time.Duration { return delays()[resource] })
			}
			return nil
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/", forward)
	mux.HandleFunc(HealthPath, func(http.ResponseWriter, *http.Request) {})
	return mux, nil
}

// watched returns the resource that a request watches: the last element of the path, as nobody watches by name in the path.
func watched(u *url.URL) (resource string, ok bool) {
	watch, err := strconv.ParseBool(u.Query().Get("watch"))
	return path.Base(u.Path), err == nil && watch
}

// piece is what one read brought.
type piece struct {
	data []byte
	err  error
	at   time.Time
}

// step is how often a piece that waits looks whether the delay is still what it was.
const step = 20 * time.Millisecond

// late returns a reader of body that hands everything out later than it came in, in order. How it ends comes late, too.
func late(body io.ReadCloser, delay func() time.Duration) io.ReadCloser {
	r, w := io.Pipe()
	// As many as a watch can have under way; beyond that the server's own buffers fill, and the lag grows.
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := body.Read(buf)
			pieces <- piece{data: buf[:n], err: err, at: time.Now()}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for p := range pieces {
			for rest := time.Until(p.at.Add(delay())); rest > 0; rest = time.Until(p.at.Add(delay())) {
				time.Sleep(min(rest, step))
			}
			if _, err := w.Write(p.data); err != nil {
				// The agent is gone; the reader above ends with the body, which the proxy closes.
				continue
			}
			if p.err != nil {
				_ = w.CloseWithError(p.err)
			}
		}
	}()
	return &lateBody{PipeReader: r, body: body}
}

// lateBody closes both ends.
type lateBody struct {
	*io.PipeReader
	body io.Closer
}

// Close ends the watch.
func (b *lateBody) Close() error { return errors.Join(b.PipeReader.Close(), b.body.Close()) }
