package probe

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// What is broken is named, with the sentence that people read.
func TestDiagnose(t *testing.T) {
	const (
		underTunnel = "FORWARD lets only the tunnel in force pass"
		allowOnly   = `forward iifname != "hs1-8472" oifname != "hs1-8472" drop`
	)
	dead := Finding{v1alpha1.ProbePeerDead, "peer dead on the current path too"}
	peerFilter := Finding{v1alpha1.ProbeForwardPolicy, "peer's FORWARD policy drops pods"}
	ownFilter := Finding{v1alpha1.ProbeForwardPolicy, "this node's FORWARD policy drops pods"}
	bothFilter := Finding{v1alpha1.ProbeForwardPolicy, "the FORWARD policies of peer and this node drop pods"}
	noAnswer := Finding{v1alpha1.ProbeNoAnswer, "no answer over UDP 4789 from 172.30.0.12"}
	for name, tc := range map[string]struct {
		path string
		rig  func(w *world)
		want Finding
	}{
		"nothing":                  {tunnelPath, func(*world) {}, Finding{}},
		"port dropped at the peer": {tunnelPath, func(w *world) { w.nft(w.nodes[2], "inet", "input udp dport 4789 drop") }, noAnswer},
		"port dropped here":        {tunnelPath, func(w *world) { w.nft(w.nodes[1], "inet", "input udp dport 4789 drop") }, noAnswer},
		"port dropped in between":  {tunnelPath, func(w *world) { w.nft(w.underlay, "bridge", "forward udp dport 4789 drop") }, noAnswer},
		"peer: " + underTunnel:     {tunnelPath, func(w *world) { w.nft(w.nodes[2], "inet", allowOnly) }, peerFilter},
		"peer lets pods out only":  {tunnelPath, func(w *world) { w.nft(w.nodes[2], "inet", `forward iifname "hs7-4789" drop`) }, peerFilter},
		"here: " + underTunnel:     {tunnelPath, func(w *world) { w.nft(w.nodes[1], "inet", allowOnly) }, ownFilter},
		"both: " + underTunnel: {tunnelPath, func(w *world) {
			w.nft(w.nodes[1], "inet", allowOnly)
			w.nft(w.nodes[2], "inet", allowOnly)
		}, bothFilter},
		"both let pods out only": {tunnelPath, func(w *world) {
			w.nft(w.nodes[1], "inet", `forward iifname "hs7-4789" drop`)
			w.nft(w.nodes[2], "inet", `forward iifname "hs7-4789" drop`)
		}, bothFilter},
		"direct: peer's FORWARD": {directPath, func(w *world) { w.nft(w.nodes[2], "inet", allowOnly) }, peerFilter},
		"underlay drops pods' destinations": {directPath, func(w *world) {
			w.nft(w.underlay, "bridge", "forward ip daddr 10.244.0.0/16 drop")
		}, Finding{v1alpha1.ProbePodAddressesDropped, "answers for the node but drops pod addresses"}},
		"underlay drops pods' sources": {directPath, func(w *world) {
			w.nft(w.underlay, "bridge", "forward ip saddr 10.244.0.0/16 drop")
		}, Finding{v1alpha1.ProbePodAddressesDropped, "answers for the node but drops pod addresses"}},
		"underlay drops pods and pings": {directPath, func(w *world) {
			w.nft(w.underlay, "bridge", "forward ip saddr 10.244.0.0/16 drop", "forward ip protocol icmp drop")
		}, Finding{v1alpha1.ProbeNoAnswer, "no answer from 172.30.0.12"}},
		"underlay of a smaller MTU": {tunnelPath, func(w *world) { w.nft(w.underlay, "bridge", "forward ip length > 1450 drop") },
			Finding{v1alpha1.ProbePathMTU, "path MTU 1400 < 1450"}},
		"direct, a smaller MTU": {directPath, func(w *world) { w.nft(w.underlay, "bridge", "forward ip length > 1477 drop") },
			Finding{v1alpha1.ProbePathMTU, "path MTU 1477 < 1500"}},
		"peer's prober dead": {tunnelPath, func(w *world) { w.stop(2) }, dead},
		"the current path, peer dead": {"", func(w *world) { w.stop(2) },
			Finding{v1alpha1.ProbeNoAnswer, "no answer over UDP 8472 from 172.30.0.12"}},
		"the current path, port dropped": {"", func(w *world) { w.nft(w.nodes[2], "inet", "input udp dport 8472 drop") },
			Finding{v1alpha1.ProbeNoAnswer, "no answer over UDP 8472 from 172.30.0.12"}},
		"peer unreachable":             {tunnelPath, func(w *world) { w.in(w.underlay, "ip link set p2 down") }, dead},
		"current path, peer's FORWARD": {"", func(w *world) { w.nft(w.nodes[2], "inet", "forward drop") }, peerFilter},
		"every path, peer's FORWARD":   {tunnelPath, func(w *world) { w.nft(w.nodes[2], "inet", "forward drop") }, peerFilter},
		"every path, FORWARD here":     {tunnelPath, func(w *world) { w.nft(w.nodes[1], "inet", "forward drop") }, ownFilter},
		"every path, FORWARD of both": {tunnelPath, func(w *world) {
			w.nft(w.nodes[1], "inet", "forward drop")
			w.nft(w.nodes[2], "inet", "forward drop")
		}, bothFilter},
		"peer unprepared": {tunnelPath, func(w *world) { w.prober(2, func(c *Config) { c.Paths = c.Paths[:1] }) },
			Finding{v1alpha1.ProbeNoAnswer, "peer has not prepared the path yet"}},
		"no such path here": {"other/routes", func(*world) {}, Finding{v1alpha1.ProbeNoAnswer, "this node has not prepared the path yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.prober(1)
			w.prober(2)
			tc.rig(w)
			a := w.ask(1, 2, tc.path)
			if a.OK != (tc.want == Finding{}) {
				t.Errorf("got %+v", a)
			}
			got := p.Diagnose(t.Context(), tc.path, target(2, tc.path), a)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}
