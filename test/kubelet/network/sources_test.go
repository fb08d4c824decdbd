package network

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/test/lab"
)

const (
	// hostPodPort is where the pods in the networks of nodes listen, outsidePort where the client outside does.
	hostPodPort = 8090
	outsidePort = 8070
)

// stepSources makes the pods that the following steps use, two of them on one node and one in the network of each node, and has all
// of them, the nodes and a client outside ask each other.
func stepSources(ctx context.Context, t *testing.T, w *world) {
	var yaml string
	for _, node := range w.nodes {
		yaml += fmt.Sprintf(plainPod, "host-"+node, node, true, hostPodPort)
	}
	w.apply(ctx, t, yaml)
	w.pods = map[string]string{"p1": "n1", "p2": "n2", "p3": "n3", "q1": "n1"}
	if err := w.Pods(ctx, "p1@n1", "p2@n2", "p3@n3", "q1@n1"); err != nil {
		t.Fatal(err)
	}
	flows := w.podFlows(ctx, t)
	for from, on := range w.pods {
		for _, node := range w.nodes {
			source := w.inside[on]
			if node == on {
				source = w.addr(ctx, t, from) // it does not leave the node
			}
			flows = append(flows, flow{from, port(w.inside[node], hostPodPort), source.String(), ""})
		}
	}
	w.sources(ctx, t, flows)
	w.outside(ctx, t)
}

// podFlows are every pod and every node that ask every pod: all are seen as who they are.
func (w *world) podFlows(ctx context.Context, t *testing.T) []flow {
	t.Helper()
	var flows []flow
	for to := range w.pods {
		at := pod(w.addr(ctx, t, to))
		for from := range w.pods {
			flows = append(flows, flow{from, at, w.addr(ctx, t, from).String(), to}) // itself included
		}
		for _, node := range w.nodes {
			flows = append(flows, flow{node, at, w.stable(t, node).String(), to})
		}
	}
	return flows
}

func pod(addr netip.Addr) string { return port(addr, 8080) }

func port(addr netip.Addr, port uint16) string { return netip.AddrPortFrom(addr, port).String() }

// outside has every pod ask a client outside the cluster, who must see the pod's node, and looks for every translation of these
// connections anywhere on their way: one, on the pod's own node.
func (w *world) outside(ctx context.Context, t *testing.T) {
	t.Helper()
	addrs, err := w.Addrs("client")
	if err != nil {
		t.Fatal(err)
	}
	at := port(addrs[0], outsidePort)
	path, err := w.NetNS("client")
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if err := lab.WithNetNS(path, func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { fmt.Fprint(rw, req.RemoteAddr) })}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	var flows []flow
	for from, on := range w.pods {
		flows = append(flows, flow{from, at, w.inside[on].String(), ""})
	}
	w.sources(ctx, t, flows)
	for _, place := range append([]string{"router", "client"}, w.nodes...) {
		for source, became := range w.translations(t, place, addrs[0]) {
			if node := w.nodeOf(ctx, t, source); node != place || became != w.inside[node] {
				t.Errorf("%s turns %s into %s", place, source, became)
			}
		}
	}
	for from, on := range w.pods {
		if _, ok := w.translations(t, on, addrs[0])[w.addr(ctx, t, from)]; !ok {
			t.Errorf("%s shows no translation of %s: the test sees none at all", on, from)
		}
	}
}

// nodeOf is the node of the pod with an address; empty when there is none.
func (w *world) nodeOf(ctx context.Context, t *testing.T, addr netip.Addr) string {
	t.Helper()
	for name, node := range w.pods {
		if w.addr(ctx, t, name) == addr {
			return node
		}
	}
	return ""
}

// translations are the sources that a place has turned into others for connections to the port outside, with what it made of them.
func (w *world) translations(t *testing.T, place string, to netip.Addr) map[netip.Addr]netip.Addr {
	t.Helper()
	path, err := w.NetNS(place)
	if err != nil {
		t.Fatal(err)
	}
	var flows []*netlink.ConntrackFlow
	if err := lab.WithNetNS(path, func() (err error) {
		flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	turned := map[netip.Addr]netip.Addr{}
	for _, f := range flows {
		if !f.Forward.DstIP.Equal(net.IP(to.AsSlice())) || f.Forward.DstPort != outsidePort || f.Forward.SrcIP.Equal(f.Reverse.DstIP) {
			continue
		}
		before, _ := netip.AddrFromSlice(f.Forward.SrcIP)
		after, _ := netip.AddrFromSlice(f.Reverse.DstIP)
		turned[before.Unmap()] = after.Unmap()
	}
	return turned
}
