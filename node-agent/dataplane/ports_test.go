package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// run runs commands in the current namespace, one a line.
func run(t *testing.T, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		nstest.Run(t, line)
	}
}

// withPods makes a node with two pods, wired and marked as the CNI plugin does it.
func withPods(t *testing.T) (d *dataplane.Dataplane, want desired.State, pods [2]netns.NsHandle) {
	t.Helper()
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d, want = newDataplane(t, o), nodeState(o.StateDir, 1, 2)
	sync(t, d, want)
	for i := range pods {
		pods[i] = nstest.New(t)
		run(t, fmt.Sprintf("ip link add veth%d type veth peer name pod%[1]d\nip link set veth%[1]d up master cni0\nip link set pod%[1]d netns /proc/%d/fd/%d",
			i, os.Getpid(), int(pods[i])))
		nstest.Do(t, pods[i], func() {
			run(t, fmt.Sprintf("ip addr add %s/24 dev pod%d\nip link set pod%[2]d up\nip route add default via %s", podAddr(i), i, gateway(1)))
		})
	}
	run(t, "bridge link set dev veth0 hairpin on\nbridge link set dev veth1 isolated on")
	mark(t, "veth0", handoff.Port{Hairpin: true})
	mark(t, "veth1", handoff.Port{Isolated: true})
	return d, want, pods
}

func mark(t *testing.T, name string, p handoff.Port) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetAlias(link, p.Alias())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ports are the ports of all bridges, as far as it matters.
func ports(t *testing.T) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(nstest.Run(t, "bridge -d -o link show")) {
		words := strings.Fields(line)
		port := strings.TrimSuffix(words[1], ":")
		for _, option := range []string{"master", "hairpin", "isolated"} {
			if i := slices.Index(words, option); i >= 0 {
				port += " " + option + " " + words[i+1]
			}
		}
		out = append(out, port)
	}
	slices.Sort(out)
	return out
}

// reach fails the test unless the pods reach each other and the node. The kernel may be a second late to tell a bridge that it has
// a carrier again, and later on a busy machine.
func reach(t *testing.T, pods [2]netns.NsHandle) {
	t.Helper()
	for i, pod := range pods {
		nstest.Do(t, pod, func() {
			for _, to := range []string{gateway(1).String(), podAddr(1 - i)} {
				if out, err := exec.Command("ping", "-c1", "-w5", to).CombinedOutput(); err != nil {
					t.Errorf("pod %d does not reach %s: %v\n%s", i, to, err, out)
				}
			}
		})
	}
}

// Running pods get back onto the bridge they lost, and their ports are set as they were (promise 4).
func TestPodsGetBackOntoTheBridge(t *testing.T) {
	for name, tc := range map[string]struct {
		breaks  string
		changes string
	}{
		"bridge deleted":          {"ip link del cni0", "address=1 link=6 route=1"},
		"bridge renamed":          {"ip link set cni0 down name cni9 up", "address=1 link=7"},
		"a port taken off":        {"ip link set veth0 nomaster", "link=1"},
		"all ports taken off":     {"ip link set veth0 nomaster\nip link set veth1 nomaster", "link=2"},
		"hairpin mode off":        {"bridge link set dev veth0 hairpin off", "link=1"},
		"isolation off":           {"bridge link set dev veth1 isolated off", "link=1"},
		"more than was asked for": {"bridge link set dev veth1 hairpin on", "link=1"},
	} {
		t.Run(name, func(t *testing.T) {
			d, want, pods := withPods(t)
			before := ports(t)
			settled(t, d, want)
			reach(t, pods)
			run(t, tc.breaks)
			if cmp.Equal(before, ports(t)) {
				t.Fatalf("%s breaks nothing: %q", tc.breaks, before)
			}
			if got := sync(t, d, want).Changes.String(); got != tc.changes {
				t.Errorf("got changes %q, want %q", got, tc.changes)
			}
			if diff := cmp.Diff(before, ports(t)); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			settled(t, d, want)
			reach(t, pods)
		})
	}
}

// What has no mark is not put onto the bridge, and what somebody put elsewhere is left there and said.
func TestOthersPortsAreLeftAlone(t *testing.T) {
	d, want, _ := withPods(t)
	run(t, "ip link add foreign type veth peer name foreign1\nip link set foreign alias hopsack-podium\n"+
		"ip link add odd type bridge\nip link set odd alias hopsack-pod\n"+
		"ip link add br9 type bridge\nip link set veth0 master br9")
	before := ports(t)
	r := sync(t, d, want)
	problem := desired.Problem{Reason: v1alpha1.ReasonForeignDevice,
		Message: "pod's port veth0 was put onto br9, which is not hopsack's: the pod is cut off until it is on cni0"}
	if diff := cmp.Diff([]desired.Problem{problem}, r.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if r.Changes.Total() > 0 {
		t.Errorf("got changes %q, want none", r.Changes)
	}
	if diff := cmp.Diff(before, ports(t)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	settled(t, d, want)
	nstest.Run(t, "ip link del br9")
	if r := sync(t, d, want); len(r.Problems) > 0 || r.Changes.String() != "link=1" {
		t.Errorf("after the other bridge has gone: got changes %q, problems %v, want link=1 and none", r.Changes, r.Problems)
	}
	settled(t, d, want)
}

// Pods' ports are not the agent's to delete: they stay when the network goes, and come back with it.
func TestPortsOutliveTheNetwork(t *testing.T) {
	d, want, pods := withPods(t)
	before := ports(t)
	sync(t, d, desired.State{})
	settled(t, d, desired.State{})
	if left := ports(t); len(left) > 0 {
		t.Errorf("ports without a bridge: %q", left)
	}
	contains(t, "ip link show veth0", "alias hopsack-pod hairpin")
	sync(t, d, want)
	if diff := cmp.Diff(before, ports(t)); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	settled(t, d, want)
	reach(t, pods)
}

// A pod may stop between the pass's look at it and its work; one that could not be put back is an error, and the rest is.
func TestPortCannotBePutBack(t *testing.T) {
	for name, fault := range map[string]error{"the pod has stopped": unix.ENODEV, "fault": errFault} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			sync(t, n.Dataplane, n.before())
			n.plug()
			n.kernel.Writes = nil
			left := 1
			n.kernel.Fail = func(method string) error {
				if method == "SetPort" && left > 0 {
					left--
					return fault
				}
				return nil
			}
			_, err := n.Sync(context.Background(), n.before(), false)
			if gone := errors.Is(fault, unix.ENODEV); gone && err != nil || !gone && !errors.Is(err, errFault) {
				t.Errorf("got error %v", err)
			}
			if diff := cmp.Diff([]string{"put veth1 on cni0, {Hairpin:false Isolated:true}"}, n.kernel.Writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

func podAddr(i int) string { return fmt.Sprintf("10.64.1.%d", i+2) }
