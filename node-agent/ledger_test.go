package nodeagent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
)

// peer is the target n<i>.
func peer(i int) desired.ProbeTarget {
	return desired.ProbeTarget{
		Node: fmt.Sprintf("n%d", i), Subnet: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)),
		Underlay: netip.AddrFrom4([4]byte{172, 30, 0, byte(10 + i)}),
	}
}

// path is a path to n2 and n3.
func path(revision string, kind desired.ProbeKind) desired.Probe {
	return desired.Probe{Revision: revision, Kind: kind, Targets: []desired.ProbeTarget{peer(2), peer(3)}}
}

// rolling is a node that sends with a and receives b, too.
func rolling(change ...func(*assignment)) assignment {
	a := assignment{Transmit: "a", Probes: []desired.Probe{
		path("a", desired.ProbeCurrent), path("a", desired.ProbeRoutes), path("b", desired.ProbeRoutes),
	}}
	for _, c := range change {
		c(&a)
	}
	return a
}

// switched is the same node sending with b, on trial.
func switched(a *assignment) {
	a.Transmit, a.Previous, a.Probes[0].Revision = "b", "a", "b"
}

// world answers probes: the paths that are blocked are named "<node> <path name>".
type world struct {
	blocked    map[string]bool
	unprepared map[string]bool
	asked      map[string]int
}

// play lets the ledger ask for a while.
func (w *world) play(l *ledger, from time.Time, d time.Duration) time.Time {
	end := from.Add(d)
	for t := from; t.Before(end); {
		e, wait := l.take(t)
		if e == nil {
			t = t.Add(min(wait, end.Sub(t)))
			if wait <= 0 {
				panic("waits for nothing")
			}
			continue
		}
		w.answer(l, e, t)
	}
	return end
}

func (w *world) answer(l *ledger, e *entry, at time.Time) {
	if w.asked == nil {
		w.asked = map[string]int{}
	}
	name := e.key.Node + " " + e.path.Name
	w.asked[name]++
	a := probe.Answer{OK: true, Small: true, RTT: time.Duration(e.key.Node[1]-'0') * time.Millisecond}
	switch {
	case w.unprepared[name]:
		a = probe.Answer{Unprepared: true}
	case w.blocked[name]:
		a = probe.Answer{}
	}
	if l.answer(e, a, at) {
		e.finding = probe.Finding{Reason: v1alpha1.ProbeNoAnswer, Message: "why"}
	}
	e.inFlight = false
	l.finishCheck(at)
}

func blocked(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

func TestVerification(t *testing.T) {
	fails := func(nodes ...string) (out []v1alpha1.FailingPeer) {
		for _, n := range nodes {
			out = append(out, v1alpha1.FailingPeer{Node: n, Reason: v1alpha1.ProbeNoAnswer, Message: "why"})
		}
		return out
	}
	for name, tc := range map[string]struct {
		world  world
		change func(*assignment)
		want   v1alpha1.Verification
	}{
		"all answer":       {world{}, nil, v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 2}},
		"one does not":     {world{blocked: blocked("n3 b/routes")}, nil, v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 1, FailingCount: 1, Failing: fails("n3")}},
		"one is not ready": {world{unprepared: blocked("n3 b/routes")}, nil, v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 1}},
		"no way to one": {world{}, func(a *assignment) { a.Probes[2].Targets[1].NoPath = "behind a router" },
			v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 1, FailingCount: 1, Failing: []v1alpha1.FailingPeer{
				{Node: "n3", Reason: v1alpha1.ProbeNoPath, Message: "behind a router"},
			}}},
		"a direct path is blocked": {world{blocked: blocked("n3 b/direct")},
			func(a *assignment) { a.Probes = append(a.Probes, path("b", desired.ProbeDirect)) },
			v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 2, EncapsulatedCount: 1, Encapsulated: fails("n3")}},
		"a peer behind a router has no direct path to prove": {world{},
			func(a *assignment) {
				direct := path("b", desired.ProbeDirect)
				direct.Targets[1].NoPath = "behind a router"
				a.Probes = append(a.Probes, direct)
			},
			v1alpha1.Verification{Revision: "b", Peers: 2, Verified: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			l, a := newLedger(), rolling()
			if tc.change != nil {
				tc.change(&a)
			}
			l.set(a, now)
			tc.world.play(l, now, 3*time.Second)
			got := l.verifications()
			if len(got) != 2 || got[0].Revision != "a" {
				t.Fatalf("verifications of %+v, want a and b", got)
			}
			if diff := cmp.Diff(tc.want, got[1]); diff != "" {
				t.Errorf("verification (-want +got):\n%s", diff)
			}
		})
	}
}

// A rollout that is stalled goes on by itself: a peer that fails is asked again, ever less often.
func TestFailingPeersAreAskedAgain(t *testing.T) {
	w := world{blocked: blocked("n3 b/routes")}
	l := newLedger()
	l.set(rolling(), now)
	end := w.play(l, now, 20*time.Second)
	if n := w.asked["n3 b/routes"]; n < 7 || n > 11 { // 0.1 + 0.2 + … + 3.2 s make six pauses, then one every 5 s
		t.Errorf("asked %d times in 20 s", n)
	}
	if n := w.asked["n2 b/routes"]; n < 15 || n > 24 { // once a second, to know when it breaks
		t.Errorf("a peer that answered was asked %d times in 20 s", n)
	}
	w.blocked = nil
	w.play(l, end, 6*time.Second)
	if v := l.verifications()[1]; v.Verified != 2 || v.FailingCount != 0 {
		t.Errorf("after the path opened: %+v", v)
	}
}

func TestIdleCostsNothing(t *testing.T) {
	w, l := world{}, newLedger()
	l.set(assignment{Transmit: "a", Probes: []desired.Probe{path("a", desired.ProbeCurrent)}}, now)
	w.play(l, now, time.Hour)
	if len(w.asked) > 0 {
		t.Errorf("asked %v without a rollout", w.asked)
	}
}

// A node on trial commits itself when all peers that answer at all are reached, and goes back only for one that is not, although
// it answers over the path that was left.
func TestTrial(t *testing.T) {
	for name, tc := range map[string]struct {
		blocked map[string]bool
		change  func(*assignment)
		want    trial
	}{
		"all reached": {want: trial{From: "a", To: "b", Reached: true}},
		"one is dead": {blocked: blocked("n3 ", "n3 a/routes", "n3 b/routes"), want: trial{From: "a", To: "b", Reached: true}},
		"one answers over the old path only": {blocked: blocked("n3 ", "n3 b/routes"),
			want: trial{From: "a", To: "b", Failing: []v1alpha1.FailingPeer{{Node: "n3", Reason: v1alpha1.ProbeNoAnswer, Message: "why"}}}},
		"no way to one that answers over the old path": {change: func(a *assignment) { a.Probes[0].Targets[1].NoPath = "behind a router" },
			want: trial{From: "a", To: "b", Failing: []v1alpha1.FailingPeer{{Node: "n3", Reason: v1alpha1.ProbeNoPath, Message: "behind a router"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var w world
			l := newLedger()
			l.set(rolling(), now)
			at := w.play(l, now, 3*time.Second)
			w.blocked = tc.blocked
			a := rolling(switched)
			if tc.change != nil {
				tc.change(&a)
			}
			l.set(a, at)
			if got := l.trial(); got.Reached || len(got.Failing) > 0 && tc.change == nil {
				t.Errorf("before anybody was asked: %+v", got)
			}
			w.play(l, at, 3*time.Second)
			if diff := cmp.Diff(tc.want, l.trial()); diff != "" {
				t.Errorf("trial (-want +got):\n%s", diff)
			}
		})
	}
}

// That a peer answered over the old path before the switch says nothing of now: it may have died since.
func TestTrialAsksTheOldPathAnew(t *testing.T) {
	var w world
	l := newLedger()
	l.set(rolling(), now)
	at := w.play(l, now, 3*time.Second)
	w.blocked = blocked("n3 ", "n3 a/routes", "n3 b/routes")
	w.asked = nil
	l.set(rolling(switched), at)
	w.play(l, at, 3*time.Second)
	if w.asked["n3 a/routes"] < failingAfter {
		t.Errorf("the old path was asked %d times", w.asked["n3 a/routes"])
	}
	if w.asked["n2 a/routes"] > 0 {
		t.Errorf("the old path to a peer that is reached was asked %d times", w.asked["n2 a/routes"])
	}
}

// What a revision was proven to do is not believed after the routes in force showed otherwise.
func TestDistrust(t *testing.T) {
	var w world
	l := newLedger()
	l.set(rolling(), now)
	at := w.play(l, now, 3*time.Second)
	w.blocked = blocked("n3 b/routes")
	l.distrust("b", []v1alpha1.FailingPeer{{Node: "n3"}}, at)
	w.play(l, at, 3*time.Second)
	if v := l.verifications()[1]; v.Verified != 1 || v.FailingCount != 1 {
		t.Errorf("verification = %+v, want n3 failing", v)
	}
}

// inUse is a node that sends with directRouting Verified, and nothing else.
func inUse() assignment {
	return assignment{Transmit: "a", Probes: []desired.Probe{
		path("a", desired.ProbeCurrent), path("a", desired.ProbeDirect), path("a", desired.ProbeRoutes),
	}}
}

// A direct path in use is left after three failed asks in a row and not before, and taken again when it answers.
func TestDirectPathInUse(t *testing.T) {
	var w world
	l := newLedger()
	l.set(inUse(), now)
	at := w.play(l, now, 5*time.Second)
	both := map[string]map[string]bool{"a": {"n2": true, "n3": true}}
	if diff := cmp.Diff(both, l.direct()); diff != "" {
		t.Fatalf("direct (-want +got):\n%s", diff)
	}
	w.blocked, w.asked = blocked("n3 a/direct"), nil
	const patience = 3
	for w.asked["n3 a/direct"] < patience {
		if !l.direct()["a"]["n3"] {
			t.Fatalf("given up after %d failed asks", w.asked["n3 a/direct"])
		}
		at = w.play(l, at, 10*time.Millisecond)
	}
	if diff := cmp.Diff(map[string]map[string]bool{"a": {"n2": true}}, l.direct()); diff != "" {
		t.Errorf("direct after %d failed asks (-want +got):\n%s", patience, diff)
	}
	w.blocked = nil
	w.play(l, at, 6*time.Second)
	if diff := cmp.Diff(both, l.direct()); diff != "" {
		t.Errorf("direct after the path opened (-want +got):\n%s", diff)
	}
}

// Watching direct paths stays within 20 asks per second, however many there are.
func TestWatchingIsBounded(t *testing.T) {
	a := inUse()
	for i := range a.Probes {
		a.Probes[i].Targets = nil
		for n := range 200 {
			a.Probes[i].Targets = append(a.Probes[i].Targets, peer(n))
		}
	}
	var w world
	l := newLedger()
	l.set(a, now)
	at := w.play(l, now, 30*time.Second)
	w.asked = nil
	w.play(l, at, 10*time.Second)
	total := 0
	for _, n := range w.asked {
		total += n
	}
	if total < 150 || total > 201 {
		t.Errorf("asked %d times in 10 s, want 20 per second", total)
	}
}

// A restart moves nothing: what the kernel's routes show is in use until a probe says otherwise.
func TestDirectPathsOfAnEarlierProcess(t *testing.T) {
	l := newLedger()
	l.assume("a", map[string]bool{"n2": true})
	want := map[string]map[string]bool{"a": {"n2": true}}
	if diff := cmp.Diff(want, l.direct()); diff != "" {
		t.Errorf("before the paths are known (-want +got):\n%s", diff)
	}
	l.set(inUse(), now)
	if diff := cmp.Diff(want, l.direct()); diff != "" {
		t.Errorf("before a probe (-want +got):\n%s", diff)
	}
	w := world{blocked: blocked("n2 a/direct")}
	w.play(l, now, 5*time.Second)
	if diff := cmp.Diff(map[string]map[string]bool{"a": {"n3": true}}, l.direct()); diff != "" {
		t.Errorf("after probes (-want +got):\n%s", diff)
	}
}

// A peer with another address is another peer, and what belongs to a revision goes with it.
func TestWhatIsForgotten(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*assignment)
		want   int32
	}{
		"nothing changes":       {func(*assignment) {}, 2},
		"peer with new address": {func(a *assignment) { a.Probes[2].Targets[0].Underlay = netip.MustParseAddr("172.30.0.99") }, 1},
		"own address changes":   {func(a *assignment) { a.Local = netip.MustParseAddr("172.30.0.99") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var w world
			l := newLedger()
			l.set(rolling(), now)
			at := w.play(l, now, 3*time.Second)
			l.set(rolling(tc.change), at)
			if got := l.verifications()[1].Verified; got != tc.want {
				t.Errorf("%d peers are verified, want %d", got, tc.want)
			}
		})
	}
	var w world
	l := newLedger()
	l.set(rolling(), now)
	w.play(l, now, 3*time.Second)
	l.set(assignment{Transmit: "a", Probes: []desired.Probe{path("a", desired.ProbeCurrent)}}, now)
	if got := l.verifications(); len(got) > 0 || len(l.entries) != 2 {
		t.Errorf("after the revision went: %d entries, %+v", len(l.entries), got)
	}
}

// No peer is asked twice at once, and 200 times per second at most.
func TestPace(t *testing.T) {
	a := rolling()
	a.Probes[2].Targets = nil
	for n := range 200 {
		a.Probes[2].Targets = append(a.Probes[2].Targets, peer(n))
	}
	l := newLedger()
	l.set(a, now)
	taken, seen := 0, map[*entry]bool{}
	for at := now; at.Before(now.Add(time.Second)); at = at.Add(time.Millisecond) {
		if e, _ := l.take(at); e != nil {
			if taken++; seen[e] {
				t.Fatalf("%s asked twice at once", e.key.Node)
			}
			seen[e] = true
		}
	}
	if taken < 150 || taken > 201 {
		t.Errorf("%d asks in the first second", taken)
	}
}

func TestBackoff(t *testing.T) {
	for misses, want := range map[int]time.Duration{
		0: 100 * time.Millisecond, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second,
	} {
		if got := backoff(misses); got != want {
			t.Errorf("backoff(%d) = %s, want %s", misses, got, want)
		}
	}
}
