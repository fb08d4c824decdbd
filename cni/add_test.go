package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// The whole life of a pod in every version of the specification that is still in use.
func TestLifeOfAPod(t *testing.T) {
	for _, v := range SupportedVersions().SupportedVersions() {
		t.Run(v, func(t *testing.T) {
			f := file("10.244.1.0/24")
			n, p := newNode(t, f), newPod(t, "pod-1")
			n.version = v
			bridgeBefore := n.links(t)["cni0"]

			r := n.add(t, p)
			if got := firstAddr(t, r); got != "10.244.1.3" {
				t.Errorf("address: got %s, want 10.244.1.3 (.1 is the bridge's, .2 reserved)", got)
			}
			if diff := cmp.Diff([]string{
				"addr 10.244.1.3/24",
				"default via 10.244.1.1 mtu 1450",
				"eth0 mtu 1500",
			}, p.view(t)); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			links := n.links(t)
			if got := links["cni0"]; got != bridgeBefore {
				t.Errorf("the bridge changed: got %s, was %s", got, bridgeBefore)
			}
			veth := r.Interfaces[1].Name
			if got, want := links[veth], `veth mtu 1500 hairpin true isolated false alias "hopsack-pod hairpin"`; got != want {
				t.Errorf("port: got %q, want %q", got, want)
			}
			n.connect(t, p, "10.244.1.1")

			if has(t, v, "0.4.0") {
				if err := n.check(t, p); err != nil {
					t.Errorf("CHECK: %v", err)
				}
			}
			if has(t, v, "1.1.0") {
				if got := r.Routes[0].MTU; got != 1450 {
					t.Errorf("mtu of the route in the result: got %d, want 1450", got)
				}
				if err := n.status(t); err != nil {
					t.Errorf("STATUS: %v", err)
				}
				if err := n.gc(t, p); err != nil {
					t.Errorf("GC: %v", err)
				}
			}
			for range 2 {
				n.del(t, p)
			}
			if got := n.inUse(t); len(got) != 0 {
				t.Errorf("addresses in use after DEL: %v", got)
			}
			if got := n.links(t); len(got) != 1 || got["cni0"] != bridgeBefore {
				t.Errorf("links after DEL: %v, want only the bridge as it was", got)
			}
		})
	}
}

func has(t *testing.T, v, since string) bool {
	t.Helper()
	ok, err := version.GreaterThanOrEqualTo(v, since)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestVersionsNotSpoken(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	for _, v := range []string{"0.2.0", "2.0.0"} {
		err := n.raw("ADD", fmt.Sprintf(`{"cniVersion":%q,"name":"hopsack","type":"hopsack"}`, v),
			"CNI_CONTAINERID=x", "CNI_NETNS="+p.path(), "CNI_IFNAME=eth0")
		wantCode(t, err, types.ErrIncompatibleCNIVersion, v)
	}
}

func TestBothFamilies(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24", "fd00:10:244:1::/64")), newPod(t, "pod-1")
	n.add(t, p)
	want := []string{
		"addr 10.244.1.3/24", "addr fd00:10:244:1::3/64",
		"default via 10.244.1.1 mtu 1450", "default via fd00:10:244:1::1 mtu 1450",
		"eth0 mtu 1500",
	}
	if diff := cmp.Diff(want, p.view(t)); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if err := n.check(t, p); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	n.del(t, p)
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("addresses in use after DEL: %v", got)
	}
}

func TestNoRouteMTU(t *testing.T) {
	f := file("10.244.1.0/24")
	f.RouteMTU, f.MTU = 0, 9000
	n, p := newNode(t, f), newPod(t, "pod-1")
	n.add(t, p)
	want := []string{"addr 10.244.1.3/24", "default via 10.244.1.1 mtu 0", "eth0 mtu 9000"}
	if diff := cmp.Diff(want, p.view(t)); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if err := n.check(t, p); err != nil {
		t.Errorf("CHECK: %v", err)
	}
}

// A node with several subnets fills one after the other, through the gateway of each, and leaves draining ones alone.
func TestSeveralSubnets(t *testing.T) {
	n := newNode(t, file("!10.244.9.0/24", "10.244.1.8/29", "10.245.0.0/24"))
	var got []string
	for i := range 6 {
		p := newPod(t, fmt.Sprintf("pod-%d", i))
		n.add(t, p)
		got = append(got, strings.Join(p.view(t)[:2], ", "))
	}
	want := []string{
		"addr 10.244.1.11/29, default via 10.244.1.9 mtu 1450",
		"addr 10.244.1.12/29, default via 10.244.1.9 mtu 1450",
		"addr 10.244.1.13/29, default via 10.244.1.9 mtu 1450",
		"addr 10.244.1.14/29, default via 10.244.1.9 mtu 1450",
		"addr 10.245.0.3/24, default via 10.245.0.1 mtu 1450",
		"addr 10.245.0.4/24, default via 10.245.0.1 mtu 1450",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if err := n.status(t); err != nil { // the bridge has every gateway still
		t.Errorf("STATUS: %v", err)
	}
}

// A subnet that starts to drain keeps its pods, which can be checked and deleted; new ones go to the other.
func TestSubnetStartsToDrain(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24", "10.245.1.0/24"))
	old := newPod(t, "old")
	n.add(t, old)
	n.write(t, file("!10.244.1.0/24", "10.245.1.0/24"))
	if got := firstAddr(t, n.add(t, newPod(t, "new"))); got != "10.245.1.3" {
		t.Errorf("new pod: got %s, want 10.245.1.3", got)
	}
	if err := n.check(t, old); err != nil {
		t.Errorf("CHECK of the old pod: %v", err)
	}
	n.write(t, file("!10.244.1.0/24", "!10.245.1.0/24"))
	if err := n.check(t, old); err != nil {
		t.Errorf("CHECK with everything draining: %v", err)
	}
	n.del(t, old)
	if diff := cmp.Diff([]string{"10.245.1.3"}, n.inUse(t)); diff != "" {
		t.Errorf("addresses in use (-want +got):\n%s", diff)
	}
}

func TestAddWithoutNetwork(t *testing.T) {
	good := file("10.244.1.0/24")
	for name, tc := range map[string]struct {
		prepare func(n *node) error
		want    string
	}{
		"no hand-off file": {func(n *node) error { return os.Remove(n.handoff) }, "node has no pod network yet: %s does not exist"},
		"unusable hand-off file": {func(n *node) error { return os.WriteFile(n.handoff, []byte(`{"version":1}`), 0o600) },
			"node has no usable pod network: parse %s: bridge: missing"},
		"no subnet":     {func(n *node) error { return handoff.Write(n.handoff, file()) }, "node hands out no pod addresses: %s names no subnet"},
		"only draining": {func(n *node) error { return handoff.Write(n.handoff, file("!10.1.0.0/24", "!10.2.0.0/24")) }, "node hands out no pod addresses: 10.1.0.0/24, 10.2.0.0/24 is draining"},
		"no bridge":     {func(n *node) error { return n.try(deleteBridge) }, "node has no pod network: bridge cni0 does not exist"},
		"no bridge but a veth": {func(n *node) error {
			return n.try(func() error {
				attrs := netlink.NewLinkAttrs()
				attrs.Name = "cni0"
				return errors.Join(deleteBridge(), netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other"}))
			})
		}, "node has no pod network: cni0 is a veth, not a bridge"},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := newNode(t, good), newPod(t, "pod-1")
			if err := tc.prepare(n); err != nil {
				t.Fatal(err)
			}
			before := n.links(t)
			_, err := n.tryAdd(t, p.conf())
			want := tc.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, n.handoff)
			}
			wantCode(t, err, types.ErrTryAgainLater, want, "kubectl describe nodenetwork NODE")
			if diff := cmp.Diff(before, n.links(t)); diff != "" {
				t.Errorf("links changed (-before +after):\n%s", diff)
			}
			if _, err := os.Stat(n.dataDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("data directory was made: %v", err)
			}
			// The runtime sends DEL after a failed ADD.
			n.del(t, p)
		})
	}
}

func deleteBridge() error {
	br, err := netlink.LinkByName("cni0")
	if err != nil {
		return err
	}
	return netlink.LinkDel(br)
}

func TestFullSubnets(t *testing.T) {
	n := newNode(t, file("fd00:1::/64", "10.244.1.0/30", "10.244.2.0/30", "!10.244.3.0/24"))
	pods := []pod{newPod(t, "a"), newPod(t, "b"), newPod(t, "c")}
	n.add(t, pods[0])
	n.add(t, pods[1])
	_, err := n.tryAdd(t, pods[2].conf())
	wantCode(t, err, types.ErrTryAgainLater, "no pod address is free on this node: in use are all of "+
		"10.244.1.0/30 (pods have 10.244.1.2 to 10.244.1.2), 10.244.2.0/30 (pods have 10.244.2.2 to 10.244.2.2);")
	if err != nil && strings.Contains(err.Error(), "fd00") {
		t.Errorf("names a subnet that has room: %v", err)
	}
	n.del(t, pods[2])
	n.del(t, pods[0])
	if got := firstAddr(t, n.add(t, pods[2])); got != "10.244.1.2" {
		t.Errorf("after a DEL: got %s, want 10.244.1.2", got)
	}
	if got := n.inUse(t); len(got) != 4 {
		t.Errorf("in use: %v, want two of each family", got)
	}
}

func TestConcurrentAdds(t *testing.T) {
	const pods = 20
	n := newNode(t, file("10.244.1.0/27")) // 28 addresses for pods
	list := n.conflist(t)
	var mu sync.Mutex
	addrs := map[string]string{}
	var wg sync.WaitGroup
	for i := range pods {
		p := newPod(t, fmt.Sprintf("pod-%d", i))
		wg.Go(func() {
			c := libcni.NewCNIConfigWithCacheDir([]string{binDir}, n.cacheDir, nil)
			err := n.try(func() error {
				r, err := c.AddNetworkList(context.Background(), list, p.conf())
				if err != nil {
					return err
				}
				result, err := current.NewResultFromResult(r)
				if err != nil {
					return err
				}
				addr := result.IPs[0].Address.IP.String()
				mu.Lock()
				defer mu.Unlock()
				if other, taken := addrs[addr]; taken {
					return fmt.Errorf("%s has the address %s of %s", p.id, addr, other)
				}
				addrs[addr] = p.id
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			if got := p.view(t); !slices.Contains(got, "default via 10.244.1.1 mtu 1450") {
				t.Errorf("%s: %v", p.id, got)
			}
		})
	}
	wg.Wait()
	if len(addrs) != pods || addrs["10.244.1.1"] != "" || addrs["10.244.1.2"] != "" {
		t.Errorf("got %d addresses, want %d, none of them .1 or .2: %v", len(addrs), pods, addrs)
	}
}

// connect opens a TCP connection from the pod to an address of the node.
func (n *node) connect(t *testing.T, p pod, addr string) {
	t.Helper()
	var listener net.Listener
	n.do(t, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	defer listener.Close()
	p.do(t, func() error {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return fmt.Errorf("connect from the pod: %w", err)
		}
		return conn.Close()
	})
}

// A second ADD for the same interface is the runtime's mistake. It fails, and the pod that is plugged in stays so.
func TestAddTwice(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	before := p.view(t)
	if _, err := n.tryAdd(t, p.conf()); err == nil {
		t.Error("second ADD: got no error")
	}
	if diff := cmp.Diff(before, p.view(t)); diff != "" {
		t.Errorf("pod changed (-before +after):\n%s", diff)
	}
	if err := n.check(t, p); err != nil {
		t.Errorf("CHECK: %v", err)
	}
}
