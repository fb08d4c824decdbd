package dataplane_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// where is the place of the first write that contains what, -1 for none.
func where(writes []string, what string) int {
	return slices.IndexFunc(writes, func(w string) bool { return strings.Contains(w, what) })
}

// before fails the test unless both were written, one before the other.
func before(t *testing.T, writes []string, first, second string) {
	t.Helper()
	a, b := where(writes, first), where(writes, second)
	if a < 0 || b < 0 || a > b {
		t.Errorf("%q is write %d, %q is write %d of\n%s", first, a, second, b, strings.Join(writes, "\n"))
	}
}

// Without paths to probe, a pass that trusts events reads no rule, no other table and no pod.
func TestIdleReadsNothingMore(t *testing.T) {
	n := newFakeNode(t)
	want := nodeState(n.dir, 1, 2)
	sync(t, n.Dataplane, want)
	n.kernel.Reads = nil
	sync(t, n.Dataplane, want)
	if diff := cmp.Diff([]string{"Links", "Addrs", "FDB", "Neighs", "Routes"}, n.kernel.Reads); diff != "" {
		t.Errorf("reads of an idle pass (-want +got):\n%s", diff)
	}
	n.kernel.Reads = nil
	if _, err := n.Sync(context.Background(), want, true); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"TableRoutes", "Rules", "SetPodMTU"} {
		if !slices.Contains(n.kernel.Reads, method) {
			t.Errorf("a full pass does not call %s: it finds no leftovers", method)
		}
	}
}

// A rule whose table lacks something would let probes go on to table main, and prove what is not so.
func TestRuleWaitsForItsTable(t *testing.T) {
	n := newFakeNode(t)
	want := n.before()
	hit := n.failNth("SetRoute", 4) // after the three of table main
	if _, err := n.Sync(context.Background(), want, false); !*hit || !errors.Is(err, errFault) {
		t.Errorf("got error %v, want the fault", err)
	}
	if at := where(n.kernel.Writes, "add rule from 10.64.1.2 ipproto udp sport 10401"); at >= 0 {
		t.Errorf("the pass did %q, and the table lacks a route", n.kernel.Writes[at])
	}
	before(t, n.kernel.Writes, "table 10402", "add rule from 10.64.1.2 ipproto udp sport 10403")
	n.kernel.Fail = nil
	sync(t, n.Dataplane, want)
	settled(t, n.Dataplane, want)
}

// Pods send smaller packets before the node's routes lead where larger ones do not fit, and larger ones after.
func TestPodMTUOrder(t *testing.T) {
	n := newFakeNode(t)
	large, small := nodeState(n.dir, 1, 2), nodeState(n.dir, 1, 2)
	direct(large, 1, 2)
	small.PodMTU = 1450
	sync(t, n.Dataplane, large)
	for _, step := range []struct {
		want          desired.State
		first, second string
	}{
		{small, "set mtu of pod a to 1450", "set route 10.64.2.0/24"},
		{large, "set route 10.64.2.0/24", "set mtu of pod a to 0"},
	} {
		n.kernel.Writes = nil
		sync(t, n.Dataplane, step.want)
		before(t, n.kernel.Writes, step.first, step.second)
		settled(t, n.Dataplane, step.want)
	}
	// What cannot be routed yet must not be sent either.
	sync(t, n.Dataplane, small)
	n.kernel.Writes = nil
	n.failNth("SetRoute", 1)
	if _, err := n.Sync(context.Background(), large, false); !errors.Is(err, errFault) {
		t.Errorf("got error %v, want the fault", err)
	}
	if at := where(n.kernel.Writes, "set mtu of pod"); at >= 0 {
		t.Errorf("the pass did %q though the route was not replaced", n.kernel.Writes[at])
	}
	sync(t, n.Dataplane, large)
	settled(t, n.Dataplane, large)
}

// A pod that is plugged in between passes gets the mtu it needs in the next, a record that comes again is another pod's, and
// one that nobody can read is said and stops nothing.
func TestPodsComeAndGo(t *testing.T) {
	n := newFakeNode(t)
	want := nodeState(n.dir, 1, 2)
	want.PodMTU = 1450
	sync(t, n.Dataplane, want)
	dir := handoff.PodsDir(n.dir + "/cni.json")
	write := func(id, netns string) {
		t.Helper()
		if err := handoff.WritePod(dir, handoff.Pod{ContainerID: id, IfName: "eth0", Netns: netns}); err != nil {
			t.Fatal(err)
		}
	}
	n.kernel.PodMTU["/ns/new"], n.kernel.PodMTU["/ns/again"] = 1500, 0
	write("new", "/ns/new")
	time.Sleep(5 * time.Millisecond) // a tick of the file system's clock
	write("a", "/ns/again")
	if got := sync(t, n.Dataplane, want).Changes.String(); got != "pod=2" {
		t.Errorf("got changes %q, want pod=2", got)
	}
	settled(t, n.Dataplane, want)
	write("bad", "relative")
	r, err := n.Sync(context.Background(), want, false)
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Message, "bad-eth0") {
		t.Errorf("got problems %v, error %v, want one that names the record", r.Problems, err)
	}
	if err := handoff.RemovePod(dir, "bad", "eth0"); err != nil {
		t.Fatal(err)
	}
	// Somebody changed it inside the pod: a full pass finds out.
	n.kernel.PodMTU["/ns/new"] = 9000
	if r, err := n.Sync(context.Background(), want, true); err != nil || r.Changes.String() != "pod=1" {
		t.Errorf("full pass: got changes %q, error %v, want pod=1", r.Changes, err)
	}
}

// A tunnel that is no longer wanted still takes in what is on its way: device, entries, port and loose filter stay for a while, and
// those of one that a process serves for longer.
func TestTunnelLingers(t *testing.T) {
	n := newFakeNode(t)
	const linger, tunLinger = 300 * time.Millisecond, 3 * time.Second
	o := dataplane.Options{StateDir: n.dir, Linger: linger, ProcSys: n.kernel.ProcSys, Kernel: n.kernel, Table: n.table, Forward: n.forward}
	n.Dataplane = newDataplane(t, o)
	with, without := n.before(), nodeState(n.dir, 1, 2, 3)
	sync(t, n.Dataplane, with)
	started := time.Now()
	r := sync(t, n.Dataplane, without)
	if r.Again <= 0 || r.Again > linger {
		t.Errorf("to be called again after %v, want at most %v", r.Again, linger)
	}
	if diff := cmp.Diff([]string{"hs7-4789", "hsu8285"}, r.Lingering); diff != "" {
		t.Errorf("lingering tunnels (-want +got):\n%s", diff)
	}
	if !slices.Contains(n.table.have.TunnelPorts, 4789) || !slices.Contains(n.table.have.TunnelPorts, 8285) {
		t.Errorf("ports of lingering tunnels are not among %v", n.table.have.TunnelPorts)
	}
	time.Sleep(r.Again / 2)
	if again := sync(t, n.Dataplane, without).Again; again <= 0 || again > linger-time.Since(started)+linger/4 {
		t.Errorf("to be called again after %v more, %v after the first", again, time.Since(started))
	}
	if content := n.kernel.String(); !strings.Contains(content, "link hs7-4789") || !strings.Contains(content, "addr 10.64.1.0/32 on hsu8285") {
		t.Errorf("the tunnels are gone before their time:\n%s", content)
	}
	time.Sleep(time.Until(started.Add(linger)))
	r = sync(t, n.Dataplane, without)
	if content := n.kernel.String(); r.Again <= 0 || strings.Contains(content, "hs7-4789") || !strings.Contains(content, "link hsu8285") {
		t.Errorf("to be called again after %v; want the TUN device left alone of:\n%s", r.Again, content)
	}
	time.Sleep(time.Until(started.Add(tunLinger)))
	if again := sync(t, n.Dataplane, without).Again; again != 0 {
		t.Errorf("to be called again after %v, want not any more", again)
	}
	if content := n.kernel.String(); strings.Contains(content, "hs7-4789") || strings.Contains(content, "hsu8285") {
		t.Errorf("left over:\n%s", content)
	}
	if diff := cmp.Diff([]uint16{8472}, n.table.have.TunnelPorts); diff != "" {
		t.Errorf("open ports (-want +got):\n%s", diff)
	}
	settled(t, n.Dataplane, without)

	// One that is wanted again in time stays, and its time begins anew.
	sync(t, n.Dataplane, with)
	sync(t, n.Dataplane, without)
	sync(t, n.Dataplane, with)
	time.Sleep(linger)
	if r := sync(t, n.Dataplane, without); r.Again < linger/2 {
		t.Errorf("to be called again after %v, want the whole time", r.Again)
	}
	// When hopsack leaves, nothing lingers.
	if r := sync(t, n.Dataplane, desired.State{}); r.Again != 0 || strings.Contains(n.kernel.String(), "link hs") {
		t.Errorf("to be called again after %v, left over:\n%s", r.Again, n.kernel.String())
	}
}

// The prober's device on the bridge is not the dataplane's, whatever happens around it.
func TestProbeDeviceIsLeftAlone(t *testing.T) {
	n := newFakeNode(t)
	sync(t, n.Dataplane, n.before())
	n.kernel.AddLink(dataplane.Link{Name: "hsprobe", Kind: "veth", Alias: "hopsack-probe", MTU: 1500, Up: true})
	n.kernel.Writes = nil
	sync(t, n.Dataplane, n.after())
	sync(t, n.Dataplane, desired.State{})
	if at := where(n.kernel.Writes, "hsprobe"); at >= 0 {
		t.Errorf("the pass did %q", n.kernel.Writes[at])
	}
}
