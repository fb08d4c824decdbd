package nodeagent

import (
	"net"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// A connection from an address that the node lost is ended at once; the others are none of anybody's business.
func TestStrandedConnectionsEnd(t *testing.T) {
	nstest.Enter(t)
	nstest.Run(t, "ip link add eth0 type veth peer name other")
	nstest.Run(t, "ip link set eth0 up")
	nstest.Run(t, "ip addr add 172.30.0.11/24 dev eth0")
	nstest.Run(t, "ip addr add 172.31.0.11/24 dev eth0")
	config := &rest.Config{}
	c := trackConnections(config)
	open := func(local string) net.Conn {
		listener, err := net.Listen("tcp", local+":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		conn, err := config.Dial(t.Context(), "tcp", listener.Addr().String()) // from the address it goes to
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	lost, kept, loopback := open("172.30.0.11"), open("172.31.0.11"), open("127.0.0.1")
	if got := c.closeStranded(); got != 0 {
		t.Errorf("%d connections ended although the node has every address", got)
	}
	nstest.Run(t, "ip addr del 172.30.0.11/24 dev eth0")
	if got := c.closeStranded(); got != 1 {
		t.Errorf("%d connections ended, want the one whose address went", got)
	}
	if _, err := lost.Write([]byte("x")); err == nil {
		t.Error("the connection from the lost address is still open")
	}
	for _, conn := range []net.Conn{kept, loopback} {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Errorf("connection from %s: %v", conn.LocalAddr(), err)
		}
	}
	kept.Close()
	if len(c.open) != 1 {
		t.Errorf("%d connections tracked, want the one that is open", len(c.open))
	}
}
