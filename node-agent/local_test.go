package nodeagent

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Status tells without the API server what the node sends with and how each peer is reached.
func TestStatus(t *testing.T) {
	r := newRollout(t)
	if s, err := Status(r.agent.opts); err != nil || s != nil {
		t.Fatalf("status of a node that knows nothing = %+v, %v", s, err)
	}
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.prober.block("n2 ", "n2 rev-b/routes")
	r.asked("rev-b", 2)
	r.pass()
	read := func() *LocalStatus {
		t.Helper()
		s, err := Status(r.agent.opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := read(); s.Sending != "rev-b" || s.Confirmed != "rev-a" || s.use("rev-b") != "sends with it, on trial" || s.Peers[0].Path != "direct" {
		t.Errorf("on trial: %+v", s)
	}
	r.until("a failure", func(s v1alpha1.NodeNetworkStatus) bool { return s.FailedRevision != nil })
	s := read()
	want := []LocalPeer{{
		Node: "n2", Subnet: "10.244.2.0/24", Path: "encapsulated", Kernel: "as wanted",
		Route: "via 10.244.2.0 dev hs1-8472 onlink src 10.244.1.1 mtu 1450",
	}}
	if diff := cmp.Diff(want, s.Peers); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if s.Wanted != "rev-b" || s.Sending != "rev-a" || s.Confirmed != "rev-a" || !s.Joined || s.Endpoint != "172.30.0.11" {
		t.Errorf("after it went back: %+v", s)
	}
	var text, encoded bytes.Buffer
	if err := PrintStatus(s, "", &text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Revision  rev-a vxlan, VNI 1, port 8472, directRouting Never: sends with it",
		"Revision  rev-b host-gw: left it by itself, it did not reach n2",
		"Endpoint  172.30.0.11, peers answer",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in\n%s", line, &text)
		}
	}
	if err := PrintStatusJSON(s, &encoded); err != nil {
		t.Fatal(err)
	}
	var back LocalStatus
	if err := json.Unmarshal(encoded.Bytes(), &back); err != nil || back.Peers[0].Path != "encapsulated" {
		t.Errorf("JSON gives %+v, %v", back, err)
	}
}
