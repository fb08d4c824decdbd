package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/fakekernel"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// fakeFilter is a packet filter that notes when it is written.
type fakeFilter struct {
	name   string
	kernel *fakekernel.Kernel
	have   *desired.Firewall
	fail   error
}

func (f *fakeFilter) Sync(_ context.Context, want *desired.Firewall, _ bool) (int, []desired.Problem, error) {
	if err := f.fail; err != nil {
		f.fail = nil
		return 0, nil, err
	}
	if cmp.Equal(f.have, want, cmp.Comparer(func(a, b *desired.Firewall) bool { return fmt.Sprint(a) == fmt.Sprint(b) })) {
		return 0, nil, nil
	}
	f.have = want
	f.kernel.Writes = append(f.kernel.Writes, "write "+f.name)
	return 1, nil, nil
}

// fakeNode is a Dataplane over a kernel in memory.
type fakeNode struct {
	*dataplane.Dataplane
	kernel         *fakekernel.Kernel
	table, forward *fakeFilter
	dir            string
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	o := options(t)
	n := &fakeNode{dir: o.StateDir}
	o.ProcSys = filepath.Join(n.dir, "sys")
	n.kernel = &fakekernel.Kernel{ProcSys: o.ProcSys}
	n.table, n.forward = &fakeFilter{name: "table", kernel: n.kernel}, &fakeFilter{name: "forward", kernel: n.kernel}
	o.Kernel, o.Table, o.Forward = n.kernel, n.table, n.forward
	n.kernel.AddLink(dataplane.Link{Name: "eth0", Up: true, MTU: 1500})
	n.kernel.PodMTU = map[string]int{"/ns/a": 0, "/ns/b": 1450}
	for _, pod := range []string{"a", "b", "gone"} {
		if err := handoff.WritePod(o.PodsDir, handoff.Pod{ContainerID: pod, IfName: "eth0", Netns: "/ns/" + pod}); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "0", "net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "0",
	} {
		path := filepath.Join(o.ProcSys, key)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(value+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	n.Dataplane = newDataplane(t, o)
	return n
}

// before and after are two states between which every call of the kernel is made.
func (n *fakeNode) before() desired.State {
	s := nodeState(n.dir, 1, 2, 3)
	s.Links["hs7-4789"] = desired.Link{Kind: desired.KindVXLAN, MAC: vtep(1), MTU: 1450, VNI: 7, Port: 4789, Local: underlay(1)}
	s.Addrs[desired.AddrKey{Device: "hs7-4789", Prefix: prefix("10.64.1.0/32")}] = desired.ScopeLink
	s.Addrs[desired.AddrKey{Device: tunnel, Prefix: prefix("10.64.9.0/32")}] = desired.ScopeLink
	s.Routes[subnet(2)] = desired.Route{Device: "hs7-4789", Gateway: subnet(2).Addr(), OnLink: true, Source: gateway(1)}
	withTUN(&s, 1, 8285)
	withPath(&s, 1, 10400, tunnel, 2)
	withPath(&s, 1, 10402, "hsu8285", 2)
	s.PodMTU = 1450
	return s
}

func (n *fakeNode) after() desired.State {
	s := nodeState(n.dir, 1, 2, 4)
	l := s.Links[tunnel]
	l.Local = addr("172.30.0.9")
	s.Links[tunnel] = l
	s.Links["hs8-4789"] = desired.Link{Kind: desired.KindVXLAN, MAC: vtep(1), MTU: 1450, VNI: 8, Port: 4789, Local: underlay(1)}
	s.Addrs[desired.AddrKey{Device: "hs8-4789", Prefix: prefix("10.64.1.0/32")}] = desired.ScopeLink
	withTUN(&s, 1, 9285)
	withPath(&s, 1, 10400, "hsu9285", 2)
	withPath(&s, 1, 10404, "hs8-4789", 4)
	s.PodMTU = 1400
	s.Loose["eth0"] = struct{}{}
	s.Files[0].Content = "# mark\nother\n"
	return s
}

// plug adds two pods whose ports have lost the bridge.
func (n *fakeNode) plug() {
	for i, p := range []handoff.Port{{Hairpin: true}, {Isolated: true}} {
		n.kernel.AddLink(dataplane.Link{Name: fmt.Sprintf("veth%d", i), Kind: "veth", MTU: 1500, Up: true, Alias: p.Alias()})
	}
}

// content is all that a pass can change.
func (n *fakeNode) content(t *testing.T) string {
	t.Helper()
	out := n.kernel.String()
	for _, name := range []string{"subnet.env", "run/cni.json", "sysctls.json", "sys/net/ipv4/ip_forward", "sys/net/ipv4/conf/eth0/rp_filter"} {
		b, _ := os.ReadFile(filepath.Join(n.dir, name))
		out += fmt.Sprintf("\n%s: %s", name, strings.TrimSpace(string(b)))
	}
	return out
}

var errFault = errors.New("fault")

// failNth lets the n-th call of a method fail, and says by its result whether there was one.
func (n *fakeNode) failNth(method string, nth int) *bool {
	hit := new(bool)
	n.kernel.Fail = func(called string) error {
		if called == method {
			if nth--; nth == 0 {
				*hit = true
				return errFault
			}
		}
		return nil
	}
	return hit
}

// Whichever call fails once, the pass says so, the next one finishes the work, and the one after finds nothing to do.
func TestEveryCallFailsOnce(t *testing.T) {
	methods := []string{
		"Links", "Addrs", "FDB", "Neighs", "Routes", "CreateLink", "ChangeLink", "DeleteLink", "AddAddr", "DeleteAddr",
		"SetNeigh", "DeleteNeigh", "SetRoute", "DeleteRoute", "SetRPFilter", "SetPort",
		"TableRoutes", "Rules", "AddRule", "DeleteRule", "SetPodMTU",
	}
	reference := newFakeNode(t)
	sync(t, reference.Dataplane, reference.before())
	reference.plug()
	sync(t, reference.Dataplane, reference.after())
	want := reference.content(t)
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			for nth := 1; ; nth++ {
				n := newFakeNode(t)
				sync(t, n.Dataplane, n.before())
				n.plug()
				hit := n.failNth(method, nth)
				r, err := n.Sync(context.Background(), n.after(), false)
				if !*hit {
					if nth == 1 {
						t.Fatal("the call is never made")
					}
					return
				}
				if method == "SetRPFilter" { // has a second way, by /proc
					if err != nil || len(r.Problems) > 0 {
						t.Errorf("got error %v, problems %v, want none", err, r.Problems)
					}
				} else if !errors.Is(err, errFault) && (len(r.Problems) == 0 || r.Again == 0) { // that of a further revision is no error
					t.Errorf("call %d: got error %v, want the fault", nth, err)
				}
				sync(t, n.Dataplane, n.after())
				if diff := cmp.Diff(want, strings.ReplaceAll(n.content(t), n.dir, reference.dir)); diff != "" {
					t.Errorf("call %d: after the second pass (-want +got):\n%s", nth, diff)
				}
				settled(t, n.Dataplane, n.after())
			}
		})
	}
}

// A dump that the kernel interrupts is read again; one that it never completes changes nothing of its kind.
func TestInterruptedDump(t *testing.T) {
	for method, untouched := range map[string][]string{
		"Links": {""}, "Addrs": {"address", "delete"}, "FDB": {"fdb=true", "delete"}, "Neighs": {"fdb=false", "delete"}, "Routes": {"0/24 unreachable", "delete"},
		"TableRoutes": {"table 104", "add rule", "delete"}, "Rules": {"rule", "delete"},
	} {
		for _, times := range []int{1, 4, 1000} {
			t.Run(fmt.Sprintf("%s %d times", method, times), func(t *testing.T) {
				n := newFakeNode(t)
				sync(t, n.Dataplane, n.before())
				left := times
				n.kernel.Writes = nil
				n.kernel.Fail = func(called string) error {
					if called == method && left > 0 {
						left--
						return netlink.ErrDumpInterrupted
					}
					return nil
				}
				_, err := n.Sync(context.Background(), n.after(), false)
				if times < 5 {
					if err != nil {
						t.Fatalf("got error %v, want none", err)
					}
					settled(t, n.Dataplane, n.after())
					return
				}
				if !errors.Is(err, netlink.ErrDumpInterrupted) {
					t.Fatalf("got error %v, want that the dump was interrupted", err)
				}
				for _, w := range n.kernel.Writes {
					for _, u := range untouched {
						if strings.Contains(w, u) {
							t.Errorf("the pass did %q", w)
						}
					}
				}
				n.kernel.Fail = nil
				sync(t, n.Dataplane, n.after())
				settled(t, n.Dataplane, n.after())
			})
		}
	}
}

// Entries are made from the device up and removed from the route down, and nothing goes before its successor is there.
func TestOrder(t *testing.T) {
	n := newFakeNode(t)
	sync(t, n.Dataplane, n.before())
	n.kernel.Writes = nil
	sync(t, n.Dataplane, n.after())
	want := []string{
		"create link hs8-4789",
		"create link hsu9285",
		"set local of link hs1-8472",
		"set alias of link hs8-4789",
		"set up of link hs8-4789",
		"set alias of link hsu9285",
		"set up of link hsu9285",
		"add address 10.64.1.0/32 on hs8-4789",
		"add address 10.64.1.0/32 on hsu9285",
		"set rp_filter of eth0 to 2",
		"write table",
		"write forward",
		"set neigh fdb=true 02:00:00:00:00:04 172.30.0.4 on hs1-8472",
		"set neigh fdb=false 02:00:00:00:00:04 10.64.4.0 on hs1-8472",
		"set mtu of pod a to 1400",
		"set mtu of pod b to 1400",
		"set route 10.64.2.0/24 unreachable false via 10.64.2.0 dev hs1-8472 src 10.64.1.1 mtu 1450",
		"set route 10.64.4.0/24 unreachable false via 10.64.4.0 dev hs1-8472 src 10.64.1.1 mtu 1450",
		"set route 10.64.2.0/30 unreachable false via invalid IP dev hsu9285 src 10.64.1.1 mtu 0 table 10400",
		"set route 10.64.4.0/30 unreachable false via 10.64.4.0 dev hs8-4789 src 10.64.1.1 mtu 0 table 10404",
		"set route 10.64.0.0/10 unreachable true via invalid IP dev ? src invalid IP mtu 0 table 10404",
		"add rule from 10.64.1.2 ipproto udp sport 10405 lookup 10404",
		"delete rule from 10.64.1.2 ipproto udp sport 10403 lookup 10402",
		"delete route 10.64.2.0/30 unreachable false via invalid IP dev hsu8285 src 10.64.1.1 mtu 0 table 10402",
		"delete route 10.64.0.0/10 unreachable true via invalid IP dev ? src invalid IP mtu 0 table 10402",
		"delete route 10.64.3.0/24 unreachable false via 10.64.3.0 dev hs1-8472 src 10.64.1.1 mtu 1450",
		"delete neigh fdb=false 02:00:00:00:00:03 10.64.3.0 on hs1-8472",
		"delete neigh fdb=true 02:00:00:00:00:03 172.30.0.3 on hs1-8472",
		"delete address 10.64.9.0/32 on hs1-8472",
		"delete link hs7-4789",
		"delete link hsu8285",
		"write table", // closes its port
	}
	if diff := cmp.Diff(want, n.kernel.Writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	n.kernel.Writes = nil
	var handoffGone bool
	n.kernel.Fail = func(method string) error {
		if method == "Links" {
			_, err := os.Stat(filepath.Join(n.dir, "run/cni.json"))
			handoffGone = err != nil
		}
		return nil
	}
	sync(t, n.Dataplane, desired.State{})
	want = []string{
		"delete rule from 10.64.1.2 ipproto udp sport 10401 lookup 10400",
		"delete rule from 10.64.1.2 ipproto udp sport 10405 lookup 10404",
		"delete route 10.64.2.0/30 unreachable false via invalid IP dev hsu9285 src 10.64.1.1 mtu 0 table 10400",
		"delete route 10.64.0.0/10 unreachable true via invalid IP dev ? src invalid IP mtu 0 table 10400",
		"delete route 10.64.4.0/30 unreachable false via 10.64.4.0 dev hs8-4789 src 10.64.1.1 mtu 0 table 10404",
		"delete route 10.64.0.0/10 unreachable true via invalid IP dev ? src invalid IP mtu 0 table 10404",
		"delete route 10.64.2.0/24 unreachable false via 10.64.2.0 dev hs1-8472 src 10.64.1.1 mtu 1450",
		"delete route 10.64.4.0/24 unreachable false via 10.64.4.0 dev hs1-8472 src 10.64.1.1 mtu 1450",
		"delete route 10.64.0.0/10 unreachable true via invalid IP dev ? src invalid IP mtu 0",
		"write table",
		"write forward",
		"set rp_filter of eth0 to 0",
		"delete link cni0",
		"delete link hs1-8472",
		"delete link hs8-4789",
		"delete link hsu9285",
	}
	if diff := cmp.Diff(want, n.kernel.Writes); diff != "" {
		t.Errorf("writes of the removal (-want +got):\n%s", diff)
	}
	if !handoffGone {
		t.Error("the hand-off was still there when the removal began")
	}
}

// What depends on something that failed waits, and what is in use stays.
func TestHeldBack(t *testing.T) {
	for name, tc := range map[string]struct {
		fail func(n *fakeNode)
		held []string
	}{
		"no packet filter, no new routes and no hand-off": {
			func(n *fakeNode) { n.table.fail = errFault },
			[]string{"set route", "delete link hs7-4789", "delete neigh", "delete address"},
		},
		"no FDB entry, no ARP entry and no route to that peer": {
			func(n *fakeNode) { n.failNth("SetNeigh", 1) },
			[]string{"fdb=false 02:00:00:00:00:04", "set route 10.64.4.0/24", "delete link hs7-4789"},
		},
		"no ARP entry, no route to that peer": {
			func(n *fakeNode) { n.failNth("SetNeigh", 2) },
			[]string{"set route 10.64.4.0/24", "delete link hs7-4789"},
		},
		"no route, and the old device and its entries stay": {
			func(n *fakeNode) { n.failNth("SetRoute", 1) },
			[]string{"delete link hs7-4789", "delete neigh", "delete address"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			sync(t, n.Dataplane, n.before())
			n.kernel.Writes = nil
			tc.fail(n)
			_, err := n.Sync(context.Background(), n.after(), false)
			if !errors.Is(err, errFault) || !strings.Contains(err.Error(), "held back") && !strings.Contains(name, "no route") {
				t.Errorf("got error %v, want the fault and how much is held back", err)
			}
			for _, w := range n.kernel.Writes {
				for _, h := range tc.held {
					if strings.Contains(w, h) {
						t.Errorf("the pass did %q", w)
					}
				}
			}
			sync(t, n.Dataplane, n.after())
			settled(t, n.Dataplane, n.after())
		})
	}
}

// On a fresh node nothing is handed to the CNI plugin until devices, addresses and packet filters are there.
func TestHandoffWaits(t *testing.T) {
	for name, fail := range map[string]func(n *fakeNode){
		"device":  func(n *fakeNode) { n.failNth("CreateLink", 1) },
		"up":      func(n *fakeNode) { n.failNth("ChangeLink", 4) },
		"address": func(n *fakeNode) { n.failNth("AddAddr", 1) },
		"table":   func(n *fakeNode) { n.table.fail = errFault },
		"forward": func(n *fakeNode) { n.forward.fail = errFault },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			fail(n)
			handoff := filepath.Join(n.dir, "run/cni.json")
			if _, err := n.Sync(context.Background(), n.before(), false); !errors.Is(err, errFault) {
				t.Errorf("got error %v, want the fault", err)
			}
			if _, err := os.Stat(handoff); err == nil {
				t.Error("the hand-off is there")
			}
			sync(t, n.Dataplane, n.before())
			if _, err := os.Stat(handoff); err != nil {
				t.Errorf("the hand-off is missing after the second pass: %v", err)
			}
		})
	}
}

// A pass that is told to stop stops, and says that it did not finish.
func TestStop(t *testing.T) {
	n := newFakeNode(t)
	ctx, cancel := context.WithCancel(context.Background())
	n.kernel.Fail = func(method string) error {
		if method == "SetNeigh" {
			cancel()
		}
		return nil
	}
	if _, err := n.Sync(ctx, n.before(), false); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want canceled", err)
	}
	for _, w := range n.kernel.Writes {
		if strings.Contains(w, "route") {
			t.Errorf("the pass went on and did %q", w)
		}
	}
}
