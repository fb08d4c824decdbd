package loss

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// gate is a client, a node and a pod behind it. The node's address towards the pod is 10.244.1.1, as the bridge's would
// be; the client is on the node's other side.
type gate struct {
	client, node, pod *space
	o                 Options
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{client: newSpace(t), node: newSpace(t), pod: newSpace(t)}
	veth(t, g.client, "eth0", g.node, "eth0")
	veth(t, g.node, "toPod", g.pod, "eth0")
	g.client.run(t, "ip addr add 172.30.0.200/24 dev eth0")
	g.node.run(t, "ip addr add 172.30.0.11/24 dev eth0", "ip addr add 10.244.1.1/24 dev toPod")
	g.pod.run(t, "ip addr add 10.244.1.2/24 dev eth0", "ip route add default via 10.244.1.1")
	g.client.run(t, "ip addr add fd30::200/64 dev eth0 nodad")
	g.node.run(t, "ip addr add fd30::11/64 dev eth0 nodad", "ip addr add fd44::1/64 dev toPod nodad")
	g.pod.run(t, "ip addr add fd44::2/64 dev eth0 nodad", "ip -6 route add default via fd44::1")
	addr := netip.MustParseAddr
	g.o = Options{
		From:     Endpoint{Name: "client", NetNS: g.client.path, Addr: addr("172.30.0.200")},
		To:       Endpoint{Name: "p", NetNS: g.pod.path, Addr: addr("10.244.1.2")},
		NodePort: &NodePort{Node: Endpoint{Name: "n1", NetNS: g.node.path, Addr: addr("10.244.1.1"), Underlay: addr("172.30.0.11")}},
		TCP:      true,
	}
	return g
}

// leftovers fails the test when the node has tables or conntrack entries of the probe.
func (g *gate) leftovers(t *testing.T) {
	t.Helper()
	tables, err := g.node.try("nft list tables")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(tables, nodePortTable) {
		t.Errorf("the table is still there: %s", tables)
	}
	for family, node := range map[string]string{"ipv4": "172.30.0.11", "ipv6": "fd30::11"} {
		entries, err := g.node.try("conntrack -L -f " + family)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(entries, node) {
			t.Errorf("conntrack entries are still there: %.300s", entries)
		}
	}
}

func TestNodePortLosesNothingAndIsRemoved(t *testing.T) {
	g := newGate(t)
	var rules string
	g.o.During = func(context.Context) (err error) {
		rules, err = g.node.try("nft list ruleset")
		time.Sleep(500 * time.Millisecond)
		return err
	}
	res := measure(t, g.o)
	if res.lostBeyond(res.Counts) != 0 || res.WrongSource != 0 || res.Broken != 0 || res.Refused != 0 {
		t.Errorf("got losses through a clean NodePort: %+v", res.Counts)
	}
	for _, name := range []string{
		"client->nodeport:n1:p udp long-lived", "client->nodeport:n1:p udp new-port",
		"nodeport:n1:p->client udp long-lived", "nodeport:n1:p->client udp new-port",
	} {
		if strings.HasPrefix(name, "client") { // what the client skipped is not answered
			res.atRate(t, name, 1000)
		}
		if c := res.mustStream(t, name); c.Sent != res.Streams[0].Sent {
			t.Errorf("%s: got %d sent, want %d as on all streams", name, c.Sent, res.Streams[0].Sent)
		}
	}
	if res.To != "nodeport:n1:p" || len(res.Streams) != 7 {
		t.Errorf("got %d streams to %s, want 4 udp and 3 tcp to nodeport:n1:p", len(res.Streams), res.To)
	}
	for _, want := range []string{"flags owner", "priority dstnat", "hook output", "dnat to 10.244.1.2", "0x00004000", "masquerade fully-random"} {
		if !strings.Contains(rules, want) {
			t.Errorf("rules during the measurement lack %q:\n%s", want, rules)
		}
	}
	g.leftovers(t)
}

func TestNodePortIPv6(t *testing.T) {
	g := newGate(t)
	addr := netip.MustParseAddr
	g.o.From.Addr, g.o.To.Addr = addr("fd30::200"), addr("fd44::2")
	g.o.NodePort.Node.Addr, g.o.NodePort.Node.Underlay = addr("fd44::1"), addr("fd30::11")
	g.o.During = sleeping(200 * time.Millisecond)
	res := measure(t, g.o)
	if res.lostBeyond(res.Counts) != 0 || res.WrongSource != 0 || res.Broken != 0 || res.Sent == 0 {
		t.Errorf("got losses through a clean NodePort: %+v", res.Counts)
	}
	g.leftovers(t)
}

func TestNodePortMax(t *testing.T) {
	g := newGate(t)
	g.o.Size = SizeMax
	// As with an overlay: less fits behind the node than before it.
	g.node.run(t, "ip link set toPod mtu 1450")
	g.pod.run(t, "ip link set eth0 mtu 1450")
	g.o.During = sleeping(300 * time.Millisecond)
	res := measure(t, g.o)
	if res.lostBeyond(res.Counts) != 0 || res.SmallestPacket != 1450 || res.LargestPacket != 1450 {
		t.Errorf("got %+v, want packets of 1450 bytes and none lost", res.Counts)
	}
}

func TestNodePortSourceIsChecked(t *testing.T) {
	g := newGate(t)
	g.o.NodePort.Node.Source = netip.MustParseAddr("10.244.9.9")
	g.o.During = sleeping(100 * time.Millisecond)
	res := measure(t, g.o)
	for _, s := range res.Streams {
		want := s.Sent
		switch {
		case strings.HasPrefix(s.Name, "nodeport:"):
			want = 0 // answers do come from the NodePort
		case strings.HasSuffix(s.Name, "tcp long-lived"):
			want = 1
		}
		if s.WrongSource != want {
			t.Errorf("%s: got %d wrong sources, want %d", s.Name, s.WrongSource, want)
		}
	}
}

func TestNodePortAnswerFromElsewhereIsWrong(t *testing.T) {
	g := newGate(t)
	g.o.TCP = false
	g.client.run(t, "nft table ip t { chain c { type filter hook input priority raw; }; }")
	g.o.During = func(context.Context) error {
		// Stateless rewriting: conntrack would put it right.
		err := g.client.do("nft add rule ip t c ip saddr 172.30.0.11 ip saddr set 172.30.0.12")
		time.Sleep(100 * time.Millisecond)
		return err
	}
	res := measure(t, g.o)
	for _, name := range []string{"nodeport:n1:p->client udp long-lived", "nodeport:n1:p->client udp new-port"} {
		if c := res.mustStream(t, name); c.WrongSource == 0 || res.lostBeyond(c) != 0 {
			t.Errorf("%s: got %d wrong sources, %d lost; want some and none", name, c.WrongSource, c.Lost)
		}
	}
}

func TestNodePortIsRemovedAfterFailures(t *testing.T) {
	cases := map[string]func(g *gate) context.Context{
		"command fails": func(g *gate) context.Context {
			g.o.During = func(context.Context) error { return errors.New("boom") }
			return context.Background()
		},
		"no answer in the warm-up": func(g *gate) context.Context {
			g.o.To.Addr = netip.MustParseAddr("10.244.1.99")
			g.o.WarmUp = 300 * time.Millisecond
			g.o.During = sleeping(0)
			return context.Background()
		},
		"interrupted in the warm-up": func(g *gate) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(200*time.Millisecond, cancel)
			g.o.During = sleeping(0)
			return ctx
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			ctx := prepare(g)
			if _, err := Run(ctx, g.o); err == nil {
				t.Error("got no error")
			} else {
				t.Log(err)
			}
			g.leftovers(t)
		})
	}
}

func TestTwoNodePortsAtOnce(t *testing.T) {
	g := newGate(t)
	g.o.TCP = false
	g.o.During = func(context.Context) error {
		inner := g.o
		inner.During = sleeping(200 * time.Millisecond)
		res, err := Run(context.Background(), inner)
		if err == nil && res.lostBeyond(res.Counts) != 0 {
			err = errors.New("the inner measurement lost packets")
		}
		return err
	}
	if res := measure(t, g.o); res.lostBeyond(res.Counts) != 0 {
		t.Errorf("got %d lost, want none", res.Lost)
	}
	g.leftovers(t)
}

func TestTakenNodePortsAreNotShared(t *testing.T) {
	g := newGate(t)
	forwards := []forward{{"udp", 30000, netip.MustParseAddrPort("10.244.1.2:53")}}
	first, err := installNodePorts(context.Background(), g.o.NodePort, nodePortTable+"30000", forwards)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := installNodePorts(context.Background(), g.o.NodePort, nodePortTable+"30000", forwards); !errors.Is(err, errTaken) {
		t.Errorf("second table of the same name: got error %v, want %v", err, errTaken)
	}
	if err := first.remove(); err != nil {
		t.Error(err)
	}
	g.leftovers(t)
}
