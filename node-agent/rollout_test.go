package nodeagent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/store"
	"github.com/hopsack-net/hopsack/node-agent/udp"
)

// fakeTunnels remembers what it was told.
type fakeTunnels struct {
	mu     sync.Mutex
	set    []desired.UDPTunnel
	fails  error
	closed bool
	// before is called by Set.
	before func()
}

var _ tunnels = (*fakeTunnels)(nil)

func (f *fakeTunnels) Set(t []desired.UDPTunnel) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		f.before()
	}
	f.set = t
	return f.fails
}

func (f *fakeTunnels) Stats() []udp.Stat { return nil }

func (f *fakeTunnels) Close() error {
	f.closed = true
	return nil
}

// rollout is an agent with a peer on the same segment, whose verifier runs, and a test's way to drive it.
type rollout struct {
	t       *testing.T
	agent   *Agent
	prober  *fakeProber
	tunnels *fakeTunnels
}

func newRollout(t *testing.T) *rollout {
	t.Helper()
	a, _ := newAgent(t)
	r := &rollout{t: t, agent: a, prober: &fakeProber{}}
	r.tunnels, _ = a.tunnels.(*fakeTunnels)
	a.prober = r.prober
	a.verifier = newVerifier(r.prober, func() {}, a.metrics, a.log)
	r.run(a.verifier)
	a.view.setLease(own(v1alpha1.ReasonBound), now)
	a.view.setLease(bound(), now)
	return r
}

// run runs a verifier for as long as the test.
func (r *rollout) run(v *verifier) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { v.run(ctx) })
	r.t.Cleanup(func() { cancel(); running.Wait() })
}

// asks has the node receive a (vxlan), b (host-gw) and v (Verified), and send with one of them.
func asks(transmit string, generation int64) func(*v1alpha1.NodeNetwork) {
	return func(n *v1alpha1.NodeNetwork) {
		n.Generation = generation
		n.Spec.Revisions = []v1alpha1.Revision{
			{ID: "rev-a", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}},
			{ID: "rev-b", Backend: v1alpha1.Backend{Type: v1alpha1.BackendHostGW}},
			{ID: "rev-v", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN, VXLAN: &v1alpha1.VXLANBackend{DirectRouting: v1alpha1.DirectRoutingVerified}}},
		}
		n.Spec.Transmit = transmit
	}
}

func (r *rollout) asked(transmit string, generation int64) {
	r.agent.view.setNode(nodeNetwork(asks(transmit, generation)))
}

// pass runs a pass and returns what it reports.
func (r *rollout) pass() v1alpha1.NodeNetworkStatus {
	r.t.Helper()
	runPass(r.t, r.agent)
	return r.reported()
}

func (r *rollout) reported() v1alpha1.NodeNetworkStatus {
	_, want, _ := r.agent.reporter.due(time.Now())
	if want == nil {
		r.t.Fatal("nothing is reported")
	}
	return *want
}

// until runs passes until the report is as wanted.
func (r *rollout) until(what string, done func(v1alpha1.NodeNetworkStatus) bool) v1alpha1.NodeNetworkStatus {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got := r.pass(); done(got) {
			return got
		}
	}
	r.t.Fatalf("no report with %s in 20 s; the last: %+v", what, r.reported())
	return v1alpha1.NodeNetworkStatus{}
}

func (r *rollout) transmits(id string) v1alpha1.NodeNetworkStatus {
	r.t.Helper()
	return r.until("transmitRevision "+id, func(s v1alpha1.NodeNetworkStatus) bool { return s.TransmitRevision == id })
}

// route is the route to the peer's subnet.
func (r *rollout) route() string { return nstest.Run(r.t, "ip route show proto 104 10.244.2.0/24") }

func (r *rollout) direct(want bool) {
	r.t.Helper()
	if got := r.route(); strings.Contains(got, "via 172.30.0.12 dev eth0") != want {
		r.t.Errorf("route is %q, want it to be direct: %t", got, want)
	}
}

// A node says that it sends with a revision only when peers were reached over the routes in force, and what it says is on disk.
func TestPassCommitsWhatIsProven(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	if got := r.pass(); got.TransmitRevision != "rev-a" {
		t.Fatalf("the first revision of all is not confirmed: %+v", got)
	}
	r.prober.block("n2 ", "n2 rev-a/routes")
	r.asked("rev-b", 2)
	if got := r.pass(); got.TransmitRevision != "rev-a" || got.FailedRevision != nil {
		t.Errorf("right after the switch: transmit %s, failed %+v", got.TransmitRevision, got.FailedRevision)
	}
	r.direct(true)
	r.prober.block()
	r.transmits("rev-b")
	r.direct(true)
	content, _, err := store.Load(r.agent.opts.StateDir)
	if err != nil || content.Agent == nil || content.Agent.Confirmed != "rev-b" {
		t.Errorf("on disk: %+v, error %v", content.Agent, err)
	}
}

// A peer that is lost by a switch has the node go back by itself, without the API server, and stay there until it is asked for
// something else. A process that starts anew knows it, too.
func TestPassGoesBack(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.prober.block("n2 ", "n2 rev-b/routes")
	r.asked("rev-b", 2)
	r.pass()
	r.direct(true)
	got := r.until("a failure", func(s v1alpha1.NodeNetworkStatus) bool { return s.FailedRevision != nil })
	r.direct(false)
	if got.TransmitRevision != "rev-a" || got.FailedRevision.Revision != "rev-b" || len(got.FailedRevision.Failing) != 1 ||
		got.FailedRevision.Failing[0].Node != "n2" {
		t.Errorf("transmit %s, failed %+v", got.TransmitRevision, got.FailedRevision)
	}
	r.prober.block()
	for range 3 {
		r.pass()
	}
	r.direct(false)

	r.agent.memory, r.agent.view = memory{}, newView()
	if err := r.agent.restore(); err != nil {
		t.Fatal(err)
	}
	if got := r.pass(); got.TransmitRevision != "rev-a" || got.FailedRevision == nil {
		t.Errorf("after a restart: transmit %s, failed %+v", got.TransmitRevision, got.FailedRevision)
	}
	r.direct(false)

	r.asked("rev-a", 3)
	if got := r.pass(); got.FailedRevision != nil || got.TransmitRevision != "rev-a" {
		t.Errorf("after the request was taken back: transmit %s, failed %+v", got.TransmitRevision, got.FailedRevision)
	}
	r.asked("rev-b", 4)
	r.transmits("rev-b")
	r.direct(true)
}

// A peer that answers over neither revision does not hold the switch up.
func TestPassSwitchesDespiteADeadPeer(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.prober.block("n2 ", "n2 rev-a/routes", "n2 rev-b/routes")
	r.asked("rev-b", 2)
	r.transmits("rev-b")
}

// With Verified, direct routes follow the probes, both ways, and a restart moves nothing.
func TestPassFollowsDirectPaths(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-v", 1)
	r.pass()
	r.direct(false)
	counts := func(direct int32) func(v1alpha1.NodeNetworkStatus) bool {
		return func(s v1alpha1.NodeNetworkStatus) bool {
			return s.Paths.Direct == direct && s.Paths.Encapsulated == 1-direct
		}
	}
	r.until("a direct peer", counts(1))
	r.direct(true)

	p := &fakeProber{takes: time.Hour} // nobody answers yet
	r.agent.prober, r.agent.verifier = p, newVerifier(p, func() {}, r.agent.metrics, r.agent.log)
	r.agent.memory, r.agent.view = memory{}, newView()
	if err := r.agent.restore(); err != nil {
		t.Fatal(err)
	}
	r.pass()
	r.direct(true)

	p.takes = time.Millisecond
	p.block("n2 rev-v/direct")
	r.run(r.agent.verifier)
	r.until("an encapsulated peer", counts(0))
	r.direct(false)
	got := r.until("the peer listed", func(s v1alpha1.NodeNetworkStatus) bool {
		return len(s.Verifications) == 3 && s.Verifications[2].EncapsulatedCount == 1
	})
	if v := got.Verifications[2]; v.Revision != "rev-v" || v.Verified != 1 || v.Encapsulated[0].Reason != v1alpha1.ProbeForwardPolicy {
		t.Errorf("verification = %+v", v)
	}
}

// What an earlier process reported is taken up where the disk was lost: the revision that is in force is not another's trial.
func TestPassTakesUpAnEarlierReport(t *testing.T) {
	r := newRollout(t)
	failed := &v1alpha1.FailedRevision{Revision: "rev-b", Failing: []v1alpha1.FailingPeer{{Node: "n2", Reason: v1alpha1.ProbeNoAnswer}}}
	r.agent.view.setNode(nodeNetwork(asks("rev-b", 2), func(n *v1alpha1.NodeNetwork) {
		n.Status = v1alpha1.NodeNetworkStatus{
			ObservedGeneration: 2, NodeUID: "node-uid", TransmitRevision: "rev-a", FailedRevision: failed, Check: &v1alpha1.CheckResult{Request: "1"},
		}
		n.Spec.Check = "1"
	}))
	got := r.pass()
	r.direct(false)
	if diff := cmp.Diff(failed, got.FailedRevision); diff != "" || got.TransmitRevision != "rev-a" {
		t.Errorf("transmit %s, failed (-want +got):\n%s", got.TransmitRevision, diff)
	}
	if got.Check == nil || got.Check.Request != "1" {
		t.Errorf("check = %+v", got.Check)
	}
}

func TestPassAnswersACheck(t *testing.T) {
	r := newRollout(t)
	r.agent.view.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Spec.Check = "now" }))
	got := r.until("the check", func(s v1alpha1.NodeNetworkStatus) bool { return s.Check != nil })
	if c := got.Check; c.Request != "now" || c.Peers != 1 || c.Reached != 1 {
		t.Errorf("check = %+v", c)
	}
}

// Tunnels listen before the node says that it receives a revision, and follow the devices.
func TestPassPreparesTunnelsFirst(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	withTunnel := func(n *v1alpha1.NodeNetwork) {
		n.Spec.Revisions = append(n.Spec.Revisions, v1alpha1.Revision{ID: "rev-u", Backend: v1alpha1.Backend{Type: v1alpha1.BackendUDP}})
	}
	r.tunnels.fails = errors.New("bind: address already in use")
	r.tunnels.before = func() { nstest.Run(t, "ip link show hsu8285") }
	r.agent.view.setNode(nodeNetwork(withTunnel))
	if err := r.agent.pass(context.Background(), false); err == nil {
		t.Error("a tunnel that does not listen is no error")
	}
	got := r.reported()
	if diff := cmp.Diff([]string{"rev-a"}, got.PreparedRevisions); diff != "" {
		t.Errorf("prepared (-want +got):\n%s", diff)
	}
	if c := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionProgrammed); !strings.Contains(c.Message, "address already in use") {
		t.Errorf("Programmed says %q", c.Message)
	}
	r.tunnels.fails = nil
	got = r.pass()
	if diff := cmp.Diff([]string{"rev-a", "rev-u"}, got.PreparedRevisions); diff != "" {
		t.Errorf("prepared (-want +got):\n%s", diff)
	}
	if len(r.tunnels.set) != 1 || r.tunnels.set[0].Port != 8285 {
		t.Errorf("tunnels = %+v", r.tunnels.set)
	}
}

// A prober that cannot be plugged in proves nothing: no revision but the one that works is said to be prepared, and none committed.
func TestPassWithoutAProber(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.prober.fails = errors.New("no bridge")
	r.asked("rev-b", 2)
	for range 5 {
		if err := r.agent.pass(context.Background(), false); err == nil {
			t.Error("a prober that cannot be plugged in is no error")
		}
		got := r.reported()
		if diff := cmp.Diff([]string{"rev-a"}, got.PreparedRevisions); diff != "" || got.TransmitRevision != "rev-a" {
			t.Errorf("transmit %s, prepared (-want +got):\n%s", got.TransmitRevision, diff)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What probes said is believed once the pass that put their paths in place had no failure.
func TestPassCommitsNothingUnsettled(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.prober.block("n2 ", "n2 rev-a/routes")
	r.asked("rev-b", 2)
	r.pass()
	r.tunnels.fails = errors.New("no device")
	fail := func() {
		t.Helper()
		if err := r.agent.pass(context.Background(), false); err == nil {
			t.Error("no error")
		}
		if got := r.reported().TransmitRevision; got != "rev-a" {
			t.Errorf("transmit %q", got)
		}
	}
	fail()
	r.prober.block()
	for deadline := time.Now().Add(10 * time.Second); !r.agent.verifier.results().Trial.Reached; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the peer is not reached")
		}
	}
	fail()
	r.tunnels.fails = nil
	r.transmits("rev-b")
}

func TestPassLeaves(t *testing.T) {
	r := newRollout(t)
	r.asked("rev-a", 1)
	r.pass()
	r.agent.view.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Generation, n.Spec.Teardown = 2, v1alpha1.TeardownRequested }))
	got := r.pass()
	if !r.prober.closed || len(got.PreparedRevisions) > 0 || got.TransmitRevision != "" || got.Paths != nil {
		t.Errorf("prober closed: %t, report %+v", r.prober.closed, got)
	}
}

// Devices that linger are taken away without an event.
func TestPassSaysWhenToComeAgain(t *testing.T) {
	r := newRollout(t)
	r.agent.memory.proven = "172.30.0.11"
	r.asked("rev-a", 1)
	r.pass()
	r.agent.view.setNode(nodeNetwork(asks("rev-b", 2), func(n *v1alpha1.NodeNetwork) {
		n.Spec.Revisions = n.Spec.Revisions[1:2]
	}))
	r.pass()
	if r.agent.again <= 0 || r.agent.again > time.Second {
		t.Errorf("to come again in %s", r.agent.again)
	}
}
