package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// faultyExec runs the real plugins and lets something happen right after a command.
type faultyExec struct {
	invoke.DefaultExec
	after func(command string) error
}

func (e *faultyExec) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	out, err := e.DefaultExec.ExecPlugin(ctx, path, stdin, env)
	for _, v := range env {
		if command, ok := strings.CutPrefix(v, "CNI_COMMAND="); ok && err == nil {
			err = e.after(command)
		}
	}
	return out, err
}

// What fails after the delegate's ADD leaves no address, no veth, and an error that says what happened.
func TestAddUndone(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(n *node, p pod) error
		code  uint
		want  string
	}{
		"default route gone": {func(_ *node, p pod) error {
			return p.try(func() error {
				return netlink.RouteDel(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0"))})
			})
		}, 0, "no default route through eth0"},
		"interface gone": {func(_ *node, p pod) error {
			return p.try(func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return netlink.LinkDel(eth0)
			})
		}, 0, "look up the pod's port veth"},
		"bridge gone": {func(n *node, _ pod) error { return n.try(deleteBridge) }, types.ErrTryAgainLater, "bridge cni0 does not exist"},
		"bridge replaced": {func(n *node, _ pod) error {
			return n.try(func() error { return errors.Join(deleteBridge(), makeBridge(file("10.244.1.0/24"))) })
		}, types.ErrTryAgainLater, "bridge cni0 was replaced while the pod was plugged in"},
		"network gone": {func(n *node, _ pod) error { return os.Remove(n.handoff) }, types.ErrTryAgainLater, "node has no pod network yet"},
		"subnet drains": {func(n *node, _ pod) error { return writeFile(n, file("!10.244.1.0/24", "10.245.1.0/24")) }, types.ErrTryAgainLater,
			"subnet of 10.244.1.3 began to drain while the pod was plugged in"},
		"device MTU": {func(n *node, _ pod) error {
			f := file("10.244.1.0/24")
			f.MTU = 9000
			return writeFile(n, f)
		}, types.ErrTryAgainLater, "mtu changed from 1500 to 9000 while the pod was plugged in"},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
			err := n.addWhile(t, p, func() error { return tc.fault(n, p) })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
			if tc.code != 0 {
				wantCode(t, err, tc.code)
			}
			if got := n.inUse(t); len(got) != 0 {
				t.Errorf("addresses in use: %v", got)
			}
			if got := n.records(t); len(got) != 0 {
				t.Errorf("records of pods: %v", got)
			}
			for link := range n.links(t) {
				if link != "cni0" {
					t.Errorf("link %s is left", link)
				}
			}
			if n.stderr.Len() > 0 {
				t.Errorf("a failed ADD wrote %q", n.stderr.String())
			}
		})
	}
}

// addWhile runs ADD in this process and lets change happen once the delegate is done.
func (n *node) addWhile(t *testing.T, p pod, change func() error) error {
	t.Helper()
	plugin := &Plugin{Stdout: &n.stderr, Stderr: &n.stderr, Exec: &faultyExec{
		DefaultExec: invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}},
		after: func(command string) error {
			if command != "ADD" {
				return nil
			}
			return change()
		},
	}}
	return n.try(func() error { return plugin.Add(n.args(t, p)) })
}

func TestUndoFailureIsTold(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	plugin := &Plugin{Stdout: &n.stderr, Stderr: &n.stderr, Exec: &faultyExec{
		DefaultExec: invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}},
		after: func(command string) error {
			if command == "ADD" {
				return n.try(deleteBridge)
			}
			return types.NewError(types.ErrIOFailure, "disk on fire", "")
		},
	}}
	err := n.try(func() error { return plugin.Add(n.args(t, p)) })
	wantCode(t, err, types.ErrTryAgainLater, "bridge cni0 does not exist", "undo: delegate DEL to bridge: disk on fire")
}

// The agent writes a new mtu and then visits the pods it sees. A pod that was on its way takes it from the file.
func TestRouteMTUChangesMeanwhile(t *testing.T) {
	for _, mtu := range []int{1430, 1500, 0} {
		n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
		f := file("10.244.1.0/24")
		f.RouteMTU = mtu
		if err := n.addWhile(t, p, func() error { return writeFile(n, f) }); err != nil {
			t.Fatal(err)
		}
		want := []string{"addr 10.244.1.3/24", fmt.Sprintf("default via 10.244.1.1 mtu %d", mtu), "eth0 mtu 1500"}
		if diff := cmp.Diff(want, p.view(t)); diff != "" {
			t.Errorf("pod (-want +got):\n%s", diff)
		}
	}
}
