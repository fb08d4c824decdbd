package nodeagent

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// connections knows the agent's connections to the API server, to end those whose own address the node has lost: nothing
// comes in on them any more, and the HTTP client notices after 45 seconds only. For that long peers would go on sending to
// the node's old address.
type connections struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	open map[*connection]struct{}
}

// trackConnections makes clients of config connect through the result.
func trackConnections(config *rest.Config) *connections {
	c := &connections{dial: config.Dial, open: map[*connection]struct{}{}}
	if c.dial == nil {
		c.dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext // as client-go does
	}
	config.Dial = c.DialContext
	return c
}

// DialContext opens a connection and keeps track of it until it is closed.
func (c *connections) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &connection{Conn: conn, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked] = struct{}{}
	return tracked, nil
}

// closeStranded ends the connections from addresses that the node does not have any more, and says how many those were.
func (c *connections) closeStranded() int {
	var stranded []*connection
	c.mu.Lock()
	for conn := range c.open {
		if gone(conn.LocalAddr()) {
			stranded = append(stranded, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range stranded {
		_ = conn.Close() // whoever uses it hears of it by its own error
	}
	return len(stranded)
}

// gone says that no interface holds an address. In doubt it does.
func gone(local net.Addr) bool {
	tcp, ok := local.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return false
	}
	held, err := net.InterfaceAddrs()
	return err == nil && !slices.ContainsFunc(held, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err != nil || prefix.Addr() == tcp.AddrPort().Addr().Unmap().WithZone("")
	})
}

// connection is one that is tracked.
type connection struct {
	net.Conn
	of *connections
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
