package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

// stream is the requests of a client over one sort of connections.
type stream struct {
	client Client
	period time.Duration
	// free are the kept connections that no request uses, in the order in which they became free; nil: a new one per request.
	free chan *conn
	// request is what is sent, always the same.
	request string
}

// conn is the place of a kept connection, which is open or not.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func newStream(c Client, kept bool) *stream {
	s := &stream{client: c, period: time.Duration(2 * float64(time.Second) / c.Rate)}
	s.request = "GET /hostname HTTP/1.1\r\nHost: " + c.Target.String() + "\r\n"
	if !kept {
		s.request += "Connection: close\r\n"
	}
	s.request += "\r\n"
	if kept {
		s.free = make(chan *conn, keptConnections)
		for range keptConnections {
			s.free <- &conn{}
		}
	}
	return s
}

// connections names the sort.
func (s *stream) connections() string {
	if s.free != nil {
		return "kept"
	}
	return "new"
}

// firstAnswers waits until every connection of the stream has carried an answer.
func (s *stream) firstAnswers(ctx context.Context) error {
	for answered := 0; answered < max(1, cap(s.free)); {
		_, err := s.ask(ctx, time.Now())
		if err == nil {
			answered++
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has no answer from %s: %w", s.client.Name, s.client.Target, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// ask sends a request that is due now and returns what was answered.
func (s *stream) ask(ctx context.Context, due time.Time) (body string, err error) {
	ctx, cancel := context.WithDeadline(ctx, due.Add(RequestTimeout))
	defer cancel()
	if s.free == nil {
		var c conn
		defer c.close()
		return s.askOver(ctx, &c)
	}
	select {
	case c := <-s.free:
		defer func() {
			if err != nil {
				c.close()
			}
			s.free <- c
		}()
		return s.askOver(ctx, c)
	case <-ctx.Done():
		return "", fmt.Errorf("no kept connection was free: %w", ctx.Err())
	}
}

// askOver asks over a connection, which it opens unless it is open. An open one that turns out to be closed is an error.
func (s *stream) askOver(ctx context.Context, c *conn) (string, error) {
	if c.Conn == nil {
		if err := c.open(ctx, s.client); err != nil {
			return "", err
		}
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	// The generator that is stopped does not wait for answers. It may meet a connection that is closed at that moment.
	open := c.Conn
	stop := context.AfterFunc(ctx, func() { _ = open.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(c, s.request); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case err != nil:
		return "", fmt.Errorf("read answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("answer: %s", resp.Status)
	case s.free != nil && resp.Close:
		return "", errors.New("the other side does not keep the connection")
	}
	return strings.TrimSpace(string(body)), nil
}

// open connects in the client's network.
func (c *conn) open(ctx context.Context, from Client) error {
	return lab.WithNetNS(from.NetNS, func() (err error) {
		// The target is an address: the dialer makes its one socket on this thread.
		if c.Conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", from.Target.String()); err != nil {
			c.Conn = nil
			return err
		}
		c.in = bufio.NewReader(c.Conn)
		return nil
	})
}

// close closes the connection; one that is not open is success.
func (c *conn) close() {
	if c.Conn != nil {
		_ = c.Conn.Close()
		c.Conn, c.in = nil, nil
	}
}

// close closes the kept connections, once no request uses them.
func (s *stream) close() {
	for range cap(s.free) {
		(<-s.free).close()
	}
}
