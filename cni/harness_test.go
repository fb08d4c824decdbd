package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// binDir holds the plugin and the reference plugins, built by TestMain.
var binDir string

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests make network namespaces: run them as root")
		os.Exit(1)
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	binDir, err = os.MkdirTemp("", "hopsack-cni-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(binDir)) }()
	for name, pkg := range map[string]string{
		"hopsack":    "github.com/hopsack-net/hopsack/cmd/hopsack-cni",
		bridgePlugin: "github.com/containernetworking/plugins/plugins/main/bridge",
		ipamPlugin:   "github.com/containernetworking/plugins/plugins/ipam/host-local",
	} {
		// The flags of the Makefile, so that its build cache serves.
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(binDir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return m.Run(), nil
}

// netns is a network namespace held by a file descriptor alone: it goes with the test process, however that ends.
type netns struct{ file *os.File }

func newNetns(t testing.TB) netns {
	t.Helper()
	var n netns
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

func (n netns) close() { _ = n.file.Close() }

// path names the namespace for other processes.
func (n netns) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// try runs do on a thread that is in the namespace, and so are the processes do starts.
func (n netns) try(do func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return do()
	})
}

func (n netns) do(t testing.TB, do func() error) {
	t.Helper()
	if err := n.try(do); err != nil {
		t.Fatal(err)
	}
}

// onThread runs do on a thread of its own, which ends with it.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// node is a node as its agent leaves it: a bridge with its addresses and a hand-off file.
type node struct {
	netns
	handoff, dataDir, cacheDir string
	version                    string         // of the conflist
	keys                       map[string]any // further ones of the plugin
	stderr                     bytes.Buffer   // what the last call of each plugin said; not for parallel calls
}

func newNode(t testing.TB, f handoff.File) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{netns: newNetns(t), handoff: filepath.Join(dir, "cni.json"), dataDir: filepath.Join(dir, "ipam"),
		cacheDir: filepath.Join(dir, "cache"), version: "1.1.0"}
	n.do(t, func() error { return makeBridge(f) })
	n.write(t, f)
	return n
}

func (n *node) write(t testing.TB, f handoff.File) {
	t.Helper()
	if err := handoff.Write(n.handoff, f); err != nil {
		t.Fatal(err)
	}
}

func makeBridge(f handoff.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = f.Bridge, f.MTU
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	for _, s := range f.Subnets {
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(s.Gateway, s.Subnet.Bits())), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(br, addr); err != nil {
			return fmt.Errorf("add %v: %w", addr, err)
		}
	}
	return netlink.LinkSetUp(br)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// file is a hand-off file with these subnets; "!" in front makes one draining.
func file(subnets ...string) handoff.File {
	f := handoff.File{Version: handoff.Version, Bridge: "cni0", MTU: 1500, RouteMTU: 1450, HairpinMode: true}
	for _, s := range subnets {
		cidr, draining := strings.CutPrefix(s, "!")
		p := netip.MustParsePrefix(cidr)
		f.Subnets = append(f.Subnets, handoff.Subnet{Subnet: p, Gateway: handoff.GatewayAddress(p), Draining: draining})
	}
	return f
}

// pod is a sandbox before its first ADD.
type pod struct {
	netns
	id string
}

func newPod(t testing.TB, id string) pod { return pod{newNetns(t), id} }

func (p pod) conf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: p.id, NetNS: p.path(), IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", p.id}}}
}

func (n *node) conflist(t testing.TB) *libcni.NetworkConfigList {
	t.Helper()
	plugin := map[string]any{"type": "hopsack", "handoff": n.handoff, "dataDir": n.dataDir}
	for k, v := range n.keys {
		plugin[k] = v
	}
	b, err := json.Marshal(map[string]any{"cniVersion": n.version, "name": "hopsack", "plugins": []any{plugin}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.ConfListFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// call runs one libcni call on the node, as a container runtime there would.
func (n *node) call(do func(ctx context.Context, c *libcni.CNIConfig) error) error {
	n.stderr.Reset()
	c := libcni.NewCNIConfigWithCacheDir([]string{binDir}, n.cacheDir, &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: &n.stderr}})
	return n.try(func() error { return do(context.Background(), c) })
}

func (n *node) tryAdd(t testing.TB, rt *libcni.RuntimeConf) (*current.Result, error) {
	t.Helper()
	list := n.conflist(t)
	var result types.Result
	err := n.call(func(ctx context.Context, c *libcni.CNIConfig) (err error) {
		result, err = c.AddNetworkList(ctx, list, rt)
		return err
	})
	if err != nil {
		return nil, err
	}
	if result.Version() != n.version {
		t.Errorf("result has version %s, want %s", result.Version(), n.version)
	}
	return current.NewResultFromResult(result)
}

func (n *node) add(t testing.TB, p pod) *current.Result {
	t.Helper()
	r, err := n.tryAdd(t, p.conf())
	if err != nil {
		t.Fatalf("ADD %s: %v", p.id, err)
	}
	return r
}

func (n *node) check(t testing.TB, p pod) error {
	t.Helper()
	list := n.conflist(t)
	return n.call(func(ctx context.Context, c *libcni.CNIConfig) error { return c.CheckNetworkList(ctx, list, p.conf()) })
}

func (n *node) tryDel(t testing.TB, rt *libcni.RuntimeConf) error {
	t.Helper()
	list := n.conflist(t)
	return n.call(func(ctx context.Context, c *libcni.CNIConfig) error { return c.DelNetworkList(ctx, list, rt) })
}

func (n *node) del(t testing.TB, p pod) {
	t.Helper()
	if err := n.tryDel(t, p.conf()); err != nil {
		t.Fatalf("DEL %s: %v", p.id, err)
	}
}

func (n *node) status(t testing.TB) error {
	t.Helper()
	list := n.conflist(t)
	return n.call(func(ctx context.Context, c *libcni.CNIConfig) error { return c.GetStatusNetworkList(ctx, list) })
}

// raw runs the plugin with a configuration libcni would not make. env adds to CNI_COMMAND and CNI_PATH, or replaces them.
func (n *node) raw(command, conf string, env ...string) error {
	n.stderr.Reset()
	e := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: &n.stderr}}
	env = append([]string{"CNI_COMMAND=" + command, "CNI_PATH=" + binDir}, env...)
	return n.try(func() error {
		_, err := e.ExecPlugin(context.Background(), filepath.Join(binDir, "hopsack"), []byte(conf), env)
		return err
	})
}

// inUse lists the addresses host-local has handed out.
func (n *node) inUse(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dataDir, "hopsack"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err == nil {
			list = append(list, e.Name())
		}
	}
	slices.Sort(list)
	return list
}

// wantCode checks an error's CNI code and pieces of its text.
func wantCode(t testing.TB, err error, code uint, pieces ...string) {
	t.Helper()
	var e *types.Error
	if !errors.As(err, &e) {
		t.Errorf("got error %v, want a CNI error with code %d", err, code)
		return
	}
	if e.Code != code {
		t.Errorf("got code %d, want %d (%v)", e.Code, code, e)
	}
	for _, piece := range pieces {
		if !strings.Contains(e.Error(), piece) {
			t.Errorf("got error %q, want one with %q", e, piece)
		}
	}
}

// firstAddr is the pod's first address in a result.
func firstAddr(t testing.TB, r *current.Result) string {
	t.Helper()
	if len(r.IPs) == 0 {
		t.Fatal("result has no address")
	}
	return r.IPs[0].Address.IP.String()
}
