package cni

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
)

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

func changeRouteMTU(mtu int) error {
	routes, err := defaultRoutes("eth0")
	if err != nil {
		return err
	}
	routes[0].MTU = mtu
	return netlink.RouteReplace(&routes[0])
}

func TestCheckFinds(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(n *node, p pod) error
		code   uint
		want   string // empty: no fault
	}{
		"nothing": {change: func(*node, pod) error { return nil }},
		"mtu of the route": {
			change: func(_ *node, p pod) error { return p.try(func() error { return changeRouteMTU(1400) }) },
			want:   "default route via 10.244.1.1 dev eth0 has mtu 1400, want 1450",
		},
		"mtu metric gone": {
			change: func(_ *node, p pod) error { return p.try(func() error { return changeRouteMTU(0) }) },
			want:   "has mtu 0, want 1450",
		},
		"another mtu wanted": {
			change: func(n *node, _ pod) error {
				f := file("10.244.1.0/24")
				f.RouteMTU = 1430
				return writeFile(n, f)
			},
			want: "has mtu 1450, want 1430",
		},
		"agent and pod moved together": {
			change: func(n *node, p pod) error {
				f := file("10.244.1.0/24")
				f.RouteMTU = 1430
				if err := writeFile(n, f); err != nil {
					return err
				}
				return p.try(func() error { return changeRouteMTU(1430) })
			},
		},
		"interface": {
			change: func(_ *node, p pod) error { return p.try(func() error { return deleteLink("eth0") }) },
			want:   "delegate CHECK to bridge",
		},
		"address no longer reserved": {
			change: func(n *node, _ pod) error { return os.RemoveAll(n.dataDir) },
			want:   "Failed to find address added by container pod-1",
		},
		"bridge": {
			change: func(n *node, _ pod) error { return n.try(deleteBridge) },
			code:   types.ErrTryAgainLater,
			want:   "bridge cni0 does not exist",
		},
		"port taken off the bridge": {
			change: func(n *node, p pod) error { return n.onPort(p, netlink.LinkSetNoMaster) },
			want:   "CNI veth created for bridge cni0 was not found",
		},
		"hand-off file": {
			change: func(n *node, _ pod) error { return os.Remove(n.handoff) },
			code:   types.ErrTryAgainLater,
			want:   "node has no pod network yet",
		},
		"somebody sniffs on the bridge": {
			change: func(n *node, _ pod) error {
				return n.try(func() error {
					br, err := netlink.LinkByName("cni0")
					if err != nil {
						return err
					}
					return netlink.SetPromiscOn(br)
				})
			},
		},
		"MAC of the bridge": {
			change: func(n *node, _ pod) error {
				return n.try(func() error {
					br, err := netlink.LinkByName("cni0")
					if err != nil {
						return err
					}
					return netlink.LinkSetHardwareAddr(br, net.HardwareAddr{2, 0, 0, 0, 0, 9})
				})
			},
			want: "Mac doesn't match",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
			n.add(t, p)
			if err := tc.change(n, p); err != nil {
				t.Fatal(err)
			}
			err := n.check(t, p)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want an error with %q", err, tc.want)
			case tc.code != 0:
				wantCode(t, err, tc.code)
			}
		})
	}
}
