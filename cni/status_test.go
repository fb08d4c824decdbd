package cni

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

func writeFile(n *node, f handoff.File) error { return handoff.Write(n.handoff, f) }

func onBridge(n *node, do func(br netlink.Link) error) error {
	return n.try(func() error {
		br, err := netlink.LinkByName("cni0")
		if err != nil {
			return err
		}
		return do(br)
	})
}

func TestStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(n *node) error
		code   uint
		want   string // empty: ready
	}{
		"ready":                {change: func(*node) error { return nil }},
		"no hand-off file":     {func(n *node) error { return os.Remove(n.handoff) }, types.ErrPluginNotAvailable, "node has no pod network yet"},
		"broken hand-off file": {func(n *node) error { return os.WriteFile(n.handoff, nil, 0o600) }, types.ErrPluginNotAvailable, "cni.json: empty"},
		"no subnet":            {func(n *node) error { return writeFile(n, file()) }, types.ErrPluginNotAvailable, "names no subnet"},
		"draining":             {func(n *node) error { return writeFile(n, file("!10.244.1.0/24")) }, types.ErrPluginNotAvailable, "10.244.1.0/24 is draining"},
		"no bridge":            {func(n *node) error { return n.try(deleteBridge) }, types.ErrPluginNotAvailable, "bridge cni0 does not exist"},
		"delegate refused": {func(n *node) error {
			n.keys = map[string]any{"delegate": map[string]any{"type": "ptp"}}
			return nil
		}, types.ErrInvalidNetworkConfig, `not to "ptp"`},
		"bridge down": {func(n *node) error { return onBridge(n, netlink.LinkSetDown) }, types.ErrLimitedConnectivity, "bridge cni0 is down"},
		"gateway gone": {func(n *node) error {
			return onBridge(n, func(br netlink.Link) error {
				return netlink.AddrDel(br, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("10.245.1.1/24"))})
			})
		}, types.ErrLimitedConnectivity, "bridge cni0 lacks the gateway address 10.245.1.1 of 10.245.1.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, file("10.244.1.0/24", "!10.245.1.0/24", "fd00::/64"))
			if err := tc.change(n); err != nil {
				t.Fatal(err)
			}
			err := n.status(t)
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			wantCode(t, err, tc.code, tc.want)
		})
	}
}

// A full node is ready: its pods would be moved away for it.
func TestStatusOfAFullNode(t *testing.T) {
	n := newNode(t, file("10.244.1.0/30"))
	n.add(t, newPod(t, "only"))
	if err := n.status(t); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

func TestStatusWithoutReferencePlugins(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24"))
	dir := t.TempDir()
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"hopsack","type":"hopsack","handoff":%q}`, n.handoff)
	for _, missing := range []string{bridgePlugin, ipamPlugin} {
		err := n.raw("STATUS", conf, "CNI_PATH="+dir)
		wantCode(t, err, types.ErrPluginNotAvailable, "find the reference plugin "+missing)
		if err := os.Symlink(filepath.Join(binDir, missing), filepath.Join(dir, missing)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.raw("STATUS", conf, "CNI_PATH="+dir); err != nil {
		t.Errorf("with both: %v", err)
	}
	if err := n.raw("VERSION", ""); err != nil {
		t.Errorf("VERSION: %v", err)
	}
}

func TestAddWithoutReferencePlugins(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	args := n.args(t, p)
	args.Path = t.TempDir()
	err := n.try(func() error { return (&Plugin{}).Add(args) })
	if err == nil || !strings.Contains(err.Error(), "find the reference plugin bridge") {
		t.Errorf("got %v", err)
	}
}
