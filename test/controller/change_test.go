package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

var (
	hostGW  = strings.Replace(plain, "{type: vxlan}", "{type: host-gw}", 1)
	overUDP = strings.Replace(plain, "{type: vxlan}", "{type: udp}", 1)
)

// TestRollout: a change of the backend goes through its phases, one barrier after another; GitOps tools, events, history and
// counts tell of it.
func TestRollout(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	before, target := c.config().Status.ActiveRevision, c.revision(hostGW)
	w := c.watchOrder()

	a.silence("n2", true)
	c.apply(hostGW)
	c.phase(v1alpha1.PhasePreparing)
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonRollingOut, target, "host-gw", "n2")
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonRollingOut)
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.kstatus(status.InProgressStatus)
	c.everyNode([]string{before, target}, before)
	if s := c.config().Status; s.ActiveRevision != before || s.TargetRevision != target || s.Effective.Backend.Type != v1alpha1.BackendHostGW {
		t.Errorf("active %s, target %s, effective %s", s.ActiveRevision, s.TargetRevision, s.Effective.Backend.Type)
	}
	c.history("host-gw InProgress", "vxlan Completed")

	a.silence("n2", false)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.kstatus(status.CurrentStatus)
	c.everyNode([]string{target}, target)
	c.history("host-gw Completed", "vxlan Completed")
	s := c.config().Status
	if s.Nodes.Live != 3 || s.Nodes.Switched != 3 || s.ActiveRevision != target || s.TargetRevision != target {
		t.Errorf("nodes %+v, active %s, target %s", s.Nodes, s.ActiveRevision, s.TargetRevision)
	}
	for _, e := range []string{"RolloutStarted", "RolloutVerified", "RolloutSwitching", "RolloutCompleted"} {
		c.eventually("event", func() error { return c.hasEvent(e, target) })
	}
	c.settle()
	for _, l := range c.leases() {
		if l.Status.BackendType != v1alpha1.BackendHostGW {
			t.Errorf("lease %s says %s", l.Name, l.Status.BackendType)
		}
	}
	w.stop()
	w.check(t)
}

// TestPause: no node moves while the annotation is there, and all do when it goes.
func TestPause(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.started(3)
	before, target := c.revision(plain), c.revision(hostGW)
	c.say(v1alpha1.PausedAnnotation, "true")
	c.apply(hostGW)
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonRolloutPaused, v1alpha1.PausedAnnotation)
	c.condition(v1alpha1.ConditionProgressing, "False", v1alpha1.ReasonRolloutPaused)
	c.kstatus(status.InProgressStatus)
	c.settle()
	if n := c.transmits(target); n > 0 {
		t.Errorf("%d nodes were moved", n)
	}
	if n := c.transmits(before); n != 3 {
		t.Errorf("%d nodes send as before, want 3", n)
	}
	c.eventually("event", func() error { return c.hasEvent("RolloutPaused", target) })
	c.say(v1alpha1.PausedAnnotation, "")
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	c.kstatus(status.CurrentStatus)
}

// TestVerificationFails: nothing moves, the pair is named, and the rollout goes on by itself when the path opens.
func TestVerificationFails(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	before, target := c.revision(plain), c.revision(hostGW)
	a.block(target, "n1", "n3", v1alpha1.ProbeNoPath)
	c.apply(hostGW)
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonVerificationFailed)
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonVerificationFailed)
	c.condition(v1alpha1.ConditionProgressing, "False", v1alpha1.ReasonVerificationFailed)
	c.kstatus(status.FailedStatus)
	c.settle()
	s := c.config().Status
	named := slices.ContainsFunc(s.FailingPairs, func(p v1alpha1.NodePair) bool {
		return p.Reason == v1alpha1.ProbeNoPath && (p.From == "n1" && p.To == "n3" || p.From == "n3" && p.To == "n1")
	})
	if !named || s.FailingPairCount == 0 {
		t.Errorf("failing pairs %+v, count %d", s.FailingPairs, s.FailingPairCount)
	}
	c.eventually("event", func() error { return c.hasEvent(v1alpha1.ReasonVerificationFailed, "no answer from") })
	c.everyNode([]string{before, target}, before)

	a.block(target, "n1", "n3", "")
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	if s := c.config().Status; s.FailingPairCount != 0 || len(s.FailingPairs) != 0 {
		t.Errorf("failing pairs are left: %+v", s.FailingPairs)
	}
	c.history("host-gw Completed", "vxlan Completed")
}

// TestSwitchFails: a node that cannot use what it was switched to takes all back; git, which still asks for the change, is not
// fought; a retry annotation, and nothing else, has it tried again.
func TestSwitchFails(t *testing.T) {
	c := newCluster(t)
	w := newWire()
	stop := c.startController(w.through)
	a := c.started(3)
	before, target := c.revision(plain), c.revision(overUDP)
	a.refuse("n2", target)
	c.apply(overUDP)
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonRolledBack, "n2")
	c.everyNode([]string{before}, before)
	c.settle()
	c.kstatus(status.FailedStatus)
	c.condition(v1alpha1.ConditionReady, "False", v1alpha1.ReasonRolledBack)
	s := c.config().Status
	if s.Effective.Backend.Type != v1alpha1.BackendVXLAN || s.ActiveRevision != before || s.TargetRevision != before {
		t.Errorf("effective %s, active %s, target %s, want what is in effect", s.Effective.Backend.Type, s.ActiveRevision, s.TargetRevision)
	}
	c.history("udp Failed", "vxlan Completed")
	c.eventually("event", func() error { return c.hasEvent("RolloutRollingBack", "n2") })

	// Flux and Argo CD apply the same spec over and over.
	generation, writes := c.config().Generation, w.writes.Load()
	for range 5 {
		c.apply(overUDP)
		c.touch()
	}
	if got := w.writes.Load() - writes; got != 0 || c.config().Generation != generation {
		t.Errorf("%d writes, generation %d, want 0 and %d", got, c.config().Generation, generation)
	}
	// Nor does a controller that starts anew try again.
	stop()
	c.startController()
	c.touch()
	c.settle()
	c.everyNode([]string{before}, before)
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonRolledBack, "n2")

	c.say(v1alpha1.RetryAnnotation, "1")
	c.history("udp Failed", "udp Failed", "vxlan Completed")
	c.everyNode([]string{before}, before)
	a.refuse("n2", "")
	c.say(v1alpha1.RetryAnnotation, "2")
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	c.kstatus(status.CurrentStatus)
	c.history("udp Completed", "udp Failed", "udp Failed", "vxlan Completed")
}

// TestSwitchFailsPaused: with onFailure Pause the node that failed goes back, the others stay.
func TestSwitchFailsPaused(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	pausing := overUDP + "rollout: {onFailure: Pause, maxConcurrent: 3}\n"
	before, target := c.revision(plain), c.revision(pausing)
	a.refuse("n2", target)
	c.apply(pausing)
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonSwitchFailed, "n2")
	c.kstatus(status.FailedStatus)
	c.settle()
	for _, nn := range c.nodeNetworks() {
		want := target
		if nn.Name == "n2" {
			want = before
		}
		if nn.Spec.Transmit != want || len(nn.Spec.Revisions) != 2 {
			t.Errorf("%s sends %s and receives %d revisions, want %s and 2", nn.Name, nn.Spec.Transmit, len(nn.Spec.Revisions), want)
		}
	}
	if got := c.config().Status.Effective.Backend.Type; got != v1alpha1.BackendUDP {
		t.Errorf("effective %s", got)
	}
	// A spec that is refused retries nothing.
	c.apply(pausing + "subnetMin: 10.244.9.0\nsubnetMax: 10.244.1.0\n")
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonInvalidSpec)
	c.settle()
	if n := c.transmits(target); n != 2 {
		t.Errorf("%d nodes send with the target, want 2", n)
	}
	// Back to what was.
	c.apply(plain)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{before}, before)
}

// TestVerifyOnly: the dry run proves the change, takes it back, and is done.
func TestVerifyOnly(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	try := hostGW + "rollout: {strategy: VerifyOnly}\n"
	before, target := c.revision(plain), c.revision(try)
	w := c.watchOrder()
	c.apply(try)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonVerified, "host-gw", "3 nodes")
	c.kstatus(status.CurrentStatus)
	c.everyNode([]string{before}, before)
	if got := c.config().Status; got.Effective.Backend.Type != v1alpha1.BackendVXLAN || !got.Rollout.Verified {
		t.Errorf("effective %s, verified %v", got.Effective.Backend.Type, got.Rollout.Verified)
	}
	c.history("host-gw Verified", "vxlan Completed")
	c.settle()

	a.block(c.revision(overUDP), "n1", "n2", v1alpha1.ProbeNoAnswer)
	c.apply(overUDP + "rollout: {strategy: VerifyOnly}\n")
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonVerificationFailed)
	c.kstatus(status.FailedStatus)
	if n := c.transmits(before); n != 3 {
		t.Errorf("%d nodes send as before, want 3", n)
	}
	// For real.
	c.apply(hostGW)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
	w.stop()
	w.check(t)
}

// TestSecondChange: the newest wins; what was overtaken says so.
func TestSecondChange(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	w := c.watchOrder()
	a.silence("n3", true)
	c.apply(hostGW)
	c.phase(v1alpha1.PhasePreparing)
	c.apply(overUDP)
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonRollingOut, "udp")
	a.silence("n3", false)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	target := c.revision(overUDP)
	c.everyNode([]string{target}, target)
	c.history("udp Completed", "host-gw Superseded", "vxlan Completed")
	w.stop()
	w.check(t)
}

// TestOldBoot: what an agent said before its node's last boot opens no barrier.
func TestOldBoot(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	n := &corev1.Node{}
	if err := c.Get(context.Background(), client.ObjectKey{Name: "n2"}, n); err != nil {
		t.Fatal(err)
	}
	n.Status.NodeInfo.BootID = "boot2"
	n.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Now())
	if err := c.Status().Update(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	before, target := c.revision(plain), c.revision(hostGW)
	c.apply(hostGW)
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonRollingOut, "n2")
	c.settle()
	c.everyNode([]string{before, target}, before)
	a.set(func() { a.boot["n2"] = "boot2" })
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{target}, target)
}

// TestCheckRequest: the annotation reaches every node, and moves none.
func TestCheckRequest(t *testing.T) {
	c := newCluster(t)
	c.startController()
	c.started(2)
	c.say(v1alpha1.CheckAnnotation, strings.Repeat("é", 70))
	c.eventually("check", func() error {
		for _, nn := range c.nodeNetworks() {
			if nn.Spec.Check != strings.Repeat("é", 64) {
				return fmt.Errorf("%s is asked %q", nn.Name, nn.Spec.Check)
			}
		}
		return nil
	})
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{c.revision(plain)}, c.revision(plain))
}

// TestProgressDeadline: time alone stalls a rollout, names who is waited for, and does not end it.
func TestProgressDeadline(t *testing.T) {
	c := newCluster(t)
	c.startController()
	a := c.started(3)
	a.silence("n2", true)
	c.apply(hostGW + "rollout: {progressDeadlineSeconds: 2}\n")
	c.phase(v1alpha1.PhasePreparing)
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.condition(v1alpha1.ConditionStalled, "True", v1alpha1.ReasonProgressDeadlineExceeded, "n2", "1 node")
	c.condition(v1alpha1.ConditionProgressing, "False", v1alpha1.ReasonProgressDeadlineExceeded)
	c.kstatus(status.FailedStatus)
	a.silence("n2", false)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.kstatus(status.CurrentStatus)
}
