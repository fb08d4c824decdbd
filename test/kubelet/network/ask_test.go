package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hopsack-net/hopsack/test/lab"
)

// browser asks for URLs from one place's network.
type browser struct {
	http.Client
	// opened counts the connections it has made.
	mu     sync.Mutex
	opened int
}

// browse returns a browser in a node, a pod's network or another place of the lab; kept says whether it uses a connection again.
func (w *world) browse(from string, kept bool) (*browser, error) {
	path, err := w.NetNS(from)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = lab.WithNetNS(path, func() (err error) {
			conn, err = (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	b := &browser{Client: http.Client{Timeout: 5 * time.Second}}
	b.Transport = &http.Transport{DialContext: dial, DisableKeepAlives: !kept}
	return b, nil
}

func (b *browser) get(ctx context.Context, url string) (string, error) {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !info.Reused {
			b.opened++
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := b.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return string(body), err
}

// flow is who asks at which address, and what must come of it.
type flow struct {
	from, to string
	// source is the address that the one asked must see, who its name; empty: whoever it is.
	source, who string
}

// sources sees that all flows get an answer, have the source address they must have from the first answer on, and are answered by
// whom they ask.
func (w *world) sources(ctx context.Context, t *testing.T, flows []flow) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	browsers := map[string]*browser{}
	for _, f := range flows {
		if browsers[f.from] != nil {
			continue
		}
		b, err := w.browse(f.from, false)
		if err != nil {
			t.Fatal(err)
		}
		browsers[f.from] = b
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, f := range flows {
		group.Go(func() error {
			if err := w.source(ctx, browsers[f.from], f); err != nil {
				t.Errorf("%s → %s: %v", f.from, f.to, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flows", len(flows))
}

func (w *world) source(ctx context.Context, b *browser, f flow) error {
	var seen string
	err := w.Wait(ctx, "an answer", func() (bool, error) {
		var err error
		seen, err = b.get(ctx, "http://"+f.to+"/clientip")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(seen)
	if err != nil || host != f.source {
		return fmt.Errorf("is seen as %s, want %s", seen, f.source)
	}
	if f.who == "" {
		return nil
	}
	if who, err := b.get(ctx, "http://"+f.to+"/hostname"); err != nil || who != f.who {
		return fmt.Errorf("answered by %q (%v), want %s", who, err, f.who)
	}
	return nil
}
