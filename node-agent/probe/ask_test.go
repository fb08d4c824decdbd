package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// Every path is proven over its own way, from both sides and by many at once.
func TestAsk(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	w.prober(2)
	var wg sync.WaitGroup
	for _, path := range []string{"", tunnelPath, directPath} {
		for range 20 {
			for from := 1; from <= 2; from++ {
				wg.Go(func() {
					if got := w.ask(from, 3-from, path); !got.OK || !got.Small || got.RTT <= 0 {
						t.Errorf("path %q from %d: got %+v, want an answer", path, from, got)
					}
				})
			}
		}
	}
	wg.Wait()
	w.nft(w.underlay, "bridge", "forward udp dport 4789 drop")
	for path, want := range map[string]bool{"": true, tunnelPath: false, directPath: true, "other/routes": false} {
		if got := w.ask(1, 2, path); got.OK != want {
			t.Errorf("path %q with the tunnel's port blocked: got %+v", path, got)
		}
	}
}

// A path that is blocked one way is not proven, whichever side asks.
func TestOneWay(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	w.prober(2)
	w.nft(w.nodes[2], "inet", "input udp dport 4789 drop")
	for from := 1; from <= 2; from++ {
		if got := w.ask(from, 3-from, tunnelPath); got.Small {
			t.Errorf("from %d: got %+v, want no answer", from, got)
		}
	}
}

// What was decided about an earlier probe, here its source, does not outlive the rule that did: every question is a new flow.
func TestNewFlows(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	w.prober(2)
	// Without any rule that translates, the kernel does not even remember what it translated.
	w.in(w.nodes[1], "nft add table ip nat", "nft add chain ip nat other { type nat hook postrouting priority 99 ; }",
		"nft add rule ip nat other oifname lo masquerade", "nft add chain ip nat c { type nat hook postrouting priority 100 ; }")
	for _, want := range []bool{true, false, true} {
		if !want {
			w.in(w.nodes[1], "nft add rule ip nat c oifname eth0 masquerade")
		}
		for range 2 { // the second time, there are flows
			for from := 1; from <= 2; from++ {
				if got := w.ask(from, 3-from, directPath); got.OK != want {
					t.Errorf("from %d: got %+v, want answers %v", from, got, want)
				}
			}
		}
		if !want {
			w.in(w.nodes[1], "nft flush chain ip nat c")
		}
	}
}

// A question ends with its context, and when the prober is closed.
func TestAskEnds(t *testing.T) {
	w := newWorld(t)
	p := w.prober(1)
	p.timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got := p.Ask(ctx, "", target(2, "")); got != (Answer{}) {
		t.Errorf("got %+v", got)
	}
	done := make(chan Answer)
	go func() { done <- w.ask(1, 2, "") }()
	openNonce(t, p)
	w.stop(1)
	select {
	case got := <-done:
		if got != (Answer{}) {
			t.Errorf("got %+v", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("a question goes on after Close")
	}
	if n := len(p.calls.open); n != 0 {
		t.Errorf("%d probes are still waited for", n)
	}
}

// openNonce is the nonce of the only probe that is under way.
func openNonce(t *testing.T, p *Prober) nonce {
	t.Helper()
	var found nonce
	eventually(t, "a probe under way", func() bool {
		p.calls.mu.Lock()
		defer p.calls.mu.Unlock()
		for n := range p.calls.open {
			found = n
		}
		return len(p.calls.open) == 1
	})
	return found
}

// Requests from addresses that are not a peer's reserved or gateway address are not answered, nor are those of other subnets.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	pod := w.pod(2, "10.244.2.9")
	w.in(pod, "ip addr add 10.244.2.2/24 dev eth0")
	w.in(w.nodes[2], "ip addr add 10.244.3.2/32 dev lo")
	w.in(w.nodes[1], "ip route add 10.244.3.0/24 via 10.244.2.0 dev hs1-8472 onlink")
	for name, tc := range map[string]struct {
		ns   netns.NsHandle
		from string
		want int // bytes of the answer
	}{
		"reserved address of a peer": {pod, "10.244.2.2", 700},
		"gateway of a peer":          {w.nodes[2], "10.244.2.1", 700},
		"pod of a peer":              {pod, "10.244.2.9", 0},
		"not a peer":                 {w.nodes[2], "10.244.3.2", 0},
	} {
		conn := w.listen(tc.ns, tc.from+":10476")
		for _, to := range []string{"10.244.1.2:10476", "10.244.1.1:10476"} {
			b := make([]byte, 700)
			message{kindRequest, newNonce(), ""}.put(b)
			if _, err := conn.WriteToUDPAddrPort(b, netip.MustParseAddrPort(to)); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, conn); got != tc.want {
				t.Errorf("%s asks %s: got an answer of %d bytes, want %d", name, to, got, tc.want)
			}
		}
	}
}

// receive returns the length of the next packet, 0 for none.
func receive(t *testing.T, conn *net.UDPConn) int {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, _, _ := conn.ReadFromUDPAddrPort(make([]byte, 2000))
	return n
}

// An answer counts only from the address that was asked, with the nonce, the path and the size of the request.
func TestSpoofedAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.prober(1)
	p.timeout, p.tries = time.Second, 1
	pod := w.pod(2, "10.244.2.9")
	w.in(pod, "ip addr add 10.244.2.2/24 dev eth0")
	for name, tc := range map[string]struct {
		from   string
		change func(m *message)
		size   int
		want   bool
	}{
		"the right one":   {"10.244.2.2", func(*message) {}, smallSize, true},
		"another address": {"10.244.2.9", func(*message) {}, smallSize, false},
		"another nonce":   {"10.244.2.2", func(m *message) { m.nonce[15]++ }, smallSize, false},
		"another path":    {"10.244.2.2", func(m *message) { m.path = tunnelPath }, smallSize, false},
		"another size":    {"10.244.2.2", func(*message) {}, smallSize + 1, false},
		"the request":     {"10.244.2.2", func(m *message) { m.kind = kindRequest }, smallSize, false},
	} {
		t.Run(name, func(t *testing.T) {
			var conn *net.UDPConn
			<-nstest.Go(t, pod, func() {
				var err error
				if conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(tc.from+":10400"))); err != nil {
					t.Error(err)
				}
			})
			defer conn.Close()
			done := make(chan Answer)
			go func() { done <- p.Ask(t.Context(), "", target(2, "")) }()
			m := message{kindAnswer, openNonce(t, p), ""}
			tc.change(&m)
			b := make([]byte, tc.size)
			m.put(b)
			if _, err := conn.WriteToUDPAddrPort(b, netip.MustParseAddrPort("10.244.1.2:10476")); err != nil {
				t.Fatal(err)
			}
			if got := <-done; got.Small != tc.want {
				t.Errorf("got %+v, want taken %v", got, tc.want)
			}
		})
	}
}

// BenchmarkAsk is one peer asked over a tunnel, both packets, with both ends on this machine.
func BenchmarkAsk(b *testing.B) {
	w := newWorld(b)
	w.prober(1)
	w.prober(2)
	b.ReportAllocs()
	for b.Loop() {
		if !w.ask(1, 2, tunnelPath).OK {
			b.Fatal("no answer")
		}
	}
}
