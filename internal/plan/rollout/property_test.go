package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
)

const seeds = 400

// TestNextRandomly: planners, agents, machines and users in any order, every view as late as it pleases, every write maybe the
// last before a crash or an hour's sleep: no node sends what another one does not receive, no stale report opens a barrier, and
// in the end all nodes have what was asked for last, or what they had before and a reason why.
func TestNextRandomly(t *testing.T) {
	stalls := map[string]int{}
	for seed := range uint64(seeds) {
		w, reason := live(seed, false)
		if w.problem != "" {
			again, _ := live(seed, true)
			t.Fatalf("seed %d: %s\n%s", seed, w.problem, strings.Join(again.log[max(0, len(again.log)-80):], "\n"))
		}
		stalls[reason]++
	}
	for _, reason := range []string{"", v1alpha1.ReasonRolledBack, v1alpha1.ReasonSwitchFailed, v1alpha1.ReasonVerificationFailed} {
		if stalls[reason] == 0 {
			t.Errorf("no seed ended with %q: the test tests less than it says (%v)", reason, stalls)
		}
	}
}

// mood says what happens often: the upper bounds of the events' shares, in percent.
type mood struct {
	targets                                         string
	ask, toggle, elect, wake, machine, path, leader int
}

var moods = []mood{
	{"abcde", 4, 6, 8, 14, 20, 23, 55},
	{"abc", 3, 5, 13, 40, 46, 48, 70},  // leaders come and go
	{"ab", 12, 13, 14, 17, 19, 20, 60}, // a user who changes his mind
	{"abcd", 4, 6, 8, 12, 28, 36, 65},  // machines and paths break
}

// live lets a world happen, and returns it with the reason why its last rollout stalled, if it did.
func live(seed uint64, verbose bool) (*world, string) {
	w := newWorld(seed, 2+int(seed%4))
	w.verbose = verbose
	w.start()
	w.disturb(300, moods[seed%uint64(len(moods))])
	return w, w.end()
}

// start makes a cluster that runs on a.
func (w *world) start() {
	w.config.put(configObject{})
	w.ask("a")
	for _, name := range w.names {
		w.join(name)
	}
	c := w.elect(nil)
	for range 12 {
		w.round(c)
	}
}

// ask changes the spec.
func (w *world) ask(target string) {
	o := w.config.now()
	o.target = target
	o.generation++
	o.policy = network.RolloutPolicy{
		MaxConcurrent: intstr.FromInt32(1 + w.rng.Int32N(3)), ProgressDeadline: 10 * time.Minute, OnFailure: v1alpha1.FailureRollback,
	}
	if w.rng.IntN(3) == 0 {
		o.policy.OnFailure = v1alpha1.FailurePause
	}
	if w.rng.IntN(4) == 0 {
		o.policy.AbandonAfter = 2 * time.Minute
	}
	o.policy.VerifyOnly = w.rng.IntN(8) == 0
	w.config.put(o)
	w.say("the user asks for %s", target)
}

// disturb lets happen whatever may happen.
func (w *world) disturb(events int, mood mood) {
	controllers := []*controller{w.elect(nil)}
	for range events {
		w.now = w.now.Add(time.Duration(w.rng.IntN(8000)) * time.Millisecond)
		leader := controllers[len(controllers)-1]
		name := w.names[w.rng.IntN(len(w.names))]
		event := w.rng.IntN(100)
		switch {
		case event < mood.ask:
			w.ask(string(mood.targets[w.rng.IntN(len(mood.targets))]))
		case event < mood.toggle:
			w.toggle()
		case event < mood.elect:
			controllers = append(controllers, w.elect(leader))
		case event < mood.wake: // a leader that was deposed wakes up, with what it saw then, or has seen since
			old := controllers[w.rng.IntN(len(controllers))]
			if w.rng.IntN(3) == 0 {
				w.see(old)
			}
			w.step(old, 1+w.rng.IntN(8))
		case event < mood.machine:
			w.machineEvent(name)
		case event < mood.path:
			w.pathEvent(name, mood.targets)
		case event < mood.leader:
			if w.rng.IntN(3) > 0 {
				w.see(leader)
			}
			w.step(leader, 1+w.rng.IntN(6))
		default:
			w.look(w.machines[name])
			w.act(w.machines[name], false)
		}
		w.check(fmt.Sprint("event ", event))
		if w.problem != "" {
			return
		}
	}
}

// step goes on with the pass under way, or makes a new one.
func (w *world) step(c *controller, writes int) {
	if len(c.writes) == 0 {
		w.plan(c)
	}
	for ; writes > 0 && len(c.writes) > 0; writes-- {
		write := c.writes[0]
		c.writes = c.writes[1:]
		write()
	}
}

func (w *world) toggle() {
	o := w.config.now()
	switch w.rng.IntN(3) {
	case 0:
		o.paused = !o.paused
	case 1:
		o.retry = fmt.Sprint(w.next())
	case 2:
		o.status = v1alpha1.RolloutStatus{} // lost
	}
	w.config.put(o)
}

func (w *world) machineEvent(name string) {
	m := w.machines[name]
	switch w.rng.IntN(6) {
	case 0:
		w.kubelet(m, !w.nodes[name].now().ready)
	case 1:
		m.up = false
		w.kubelet(m, false)
	case 2:
		w.reboot(m)
	case 3:
		w.kubelet(m, true)
	case 4:
		w.remove(name)
		if w.rng.IntN(2) == 0 {
			w.join(name)
		}
	case 5:
		if !w.nodes[name].now().exists {
			w.join(name)
		}
	}
}

func (w *world) pathEvent(name, targets string) {
	clear(w.failVerify)
	clear(w.failAfter)
	id := string(targets[w.rng.IntN(len(targets))])
	switch w.rng.IntN(3) {
	case 0:
		w.failVerify[name] = id
	case 1:
		w.failAfter[name] = id
	}
}

// round lets everybody see and do everything once.
func (w *world) round(c *controller) {
	w.now = w.now.Add(time.Second)
	for _, name := range w.names {
		c.nodes[name], c.nns[name], c.leases[name] = w.nodes[name].latest(), w.nns[name].latest(), w.leases[name].latest()
	}
	c.config = w.config.latest()
	w.plan(c)
	for len(c.writes) > 0 {
		w.step(c, 1)
		w.check("a write of " + c.id)
	}
	for _, name := range w.names {
		m := w.machines[name]
		m.seen = w.nns[name].latest()
		for _, peer := range w.names {
			m.leases[peer] = w.leases[peer].latest()
		}
		w.act(m, true)
		w.check("a pass on " + name)
	}
}

// end stops all disturbances but one in some runs, a path that does not work with the target, and sees to it that all ends; it
// returns why the rollout stalled.
func (w *world) end() string {
	o := w.config.now()
	o.paused = false
	w.config.put(o)
	broken := w.rng.IntN(3) == 0
	if !broken {
		clear(w.failVerify)
		clear(w.failAfter)
	}
	for _, name := range w.names {
		m := w.machines[name]
		if n := w.nodes[name].now(); !n.exists {
			w.join(name)
			m = w.machines[name]
		} else if !m.up {
			w.reboot(m)
		}
		w.kubelet(m, true)
	}
	c := w.elect(nil)
	for range 120 {
		w.round(c)
		if w.problem != "" {
			return ""
		}
	}
	w.now = w.now.Add(time.Hour)
	w.round(c)
	w.finished(c, broken)
	if c.step.Stalled != nil {
		return c.step.Stalled.Reason
	}
	return ""
}

// finished checks where all ended, and that nothing is written any more.
func (w *world) finished(c *controller, broken bool) {
	o := w.config.now()
	stalled := ""
	if c.step.Stalled != nil {
		stalled = c.step.Stalled.Reason
	}
	want := o.target
	switch {
	case o.policy.VerifyOnly || stalled == v1alpha1.ReasonRolledBack:
		want = c.step.Active
	case stalled == v1alpha1.ReasonSwitchFailed || stalled == v1alpha1.ReasonVerificationFailed && broken:
		return
	}
	for _, m := range w.machines {
		if stalled == v1alpha1.ReasonProgressDeadlineExceeded && o.policy.VerifyOnly && m.failed != "" {
			return // it left what was asked for before, and nothing else is asked for
		}
	}
	if o.policy.VerifyOnly && stalled == v1alpha1.ReasonVerificationFailed && broken {
		return
	}
	for _, name := range w.names {
		nn, m := w.nns[name].now(), w.machines[name]
		if nn.transmit != want || !slices.Equal(nn.revisions, []string{want}) || m.sends != want || len(m.receives) != 1 || !w.leases[name].now().published {
			w.problem = fmt.Sprintf("in the end %s has %v and sends %s (spec %v %s), want %s; step %s",
				name, m.receives, m.sends, nn.revisions, nn.transmit, want, show(c.step, len(w.names)))
		}
	}
	before := w.config.latest()
	for _, h := range w.nns {
		before += h.latest()
	}
	w.plan(c)
	for len(c.writes) > 0 {
		w.step(c, 1)
	}
	after := w.config.latest()
	for _, h := range w.nns {
		after += h.latest()
	}
	if before != after {
		w.problem = "a settled cluster is written to"
	}
}
