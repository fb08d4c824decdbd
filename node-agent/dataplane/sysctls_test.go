package dataplane_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Strict filtering becomes loose where asked, by netlink, and strict again once it no longer matters.
func TestLoosen(t *testing.T) {
	for name, tc := range map[string]struct {
		all, device      string
		during           string
		meanwhile, after string
	}{
		"strict for all":              {all: "1", device: "0", during: "2", after: "0"},
		"strict for the device":       {all: "0", device: "1", during: "2", after: "1"},
		"off":                         {all: "0", device: "0", during: "0", after: "0"},
		"loose for all":               {all: "2", device: "1", during: "1", after: "1"},
		"loose for the device":        {all: "1", device: "2", during: "2", after: "2"},
		"set by somebody else later":  {all: "0", device: "1", during: "2", meanwhile: "0", after: "0"},
		"made strict again meanwhile": {all: "0", device: "1", during: "2", meanwhile: "1", after: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			withUnderlay(t)
			nstest.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter="+tc.all)
			nstest.Run(t, "sysctl -qw net.ipv4.conf.eth0.rp_filter="+tc.device)
			o := options(t)
			want := nodeState(o.StateDir, 1, 2)
			want.Loose["eth0"] = struct{}{}
			want.Loose["missing0"] = struct{}{}
			sync(t, newDataplane(t, o), want)
			contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= "+tc.during)
			d := newDataplane(t, o) // what it was is known to another process, too
			if tc.meanwhile != "" {
				nstest.Run(t, "sysctl -qw net.ipv4.conf.eth0.rp_filter="+tc.meanwhile)
				sync(t, d, want)
			}
			sync(t, d, want)
			settled(t, d, want)
			delete(want.Loose, "eth0")
			sync(t, d, want)
			contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= "+tc.after)
			settled(t, d, want)
		})
	}
}

// Packets that were sent before the last peer changed its path may still come in: a filter that is made strict at once drops
// them. What leaves the node for good waits for nothing.
func TestLooseLingers(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	nstest.Run(t, "sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
	o := options(t)
	o.KeepLoose = time.Hour
	want := nodeState(o.StateDir, 1, 2)
	want.Loose["eth0"] = struct{}{}
	d := newDataplane(t, o)
	sync(t, d, want)
	delete(want.Loose, "eth0")
	sync(t, d, want)
	settled(t, d, want)
	contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= 2")
	d = newDataplane(t, o) // another process does not know since when it is not needed
	sync(t, d, want)
	contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= 2")
	sync(t, d, desired.State{})
	contains(t, "sysctl net.ipv4.conf.eth0.rp_filter", "= 1")
}

// What cannot be set is said with the value found and the value wanted, and nothing is remembered of it.
func TestSysctlsThatCannotBeSet(t *testing.T) {
	n := newFakeNode(t)
	path := filepath.Join(n.dir, "sys/net/ipv4/ip_forward")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/sys/kernel/random/boot_id", path); err != nil { // not even root may write there
		t.Fatal(err)
	}
	boot, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := n.before()
	want.Sysctls["net/ipv6/conf/all/forwarding"] = "1"
	r := sync(t, n.Dataplane, want)
	problem := desired.Problem{
		Reason: v1alpha1.ReasonHostNotConfigured,
		Message: "sysctl net.ipv4.ip_forward is " + strings.TrimSpace(string(boot)) + " and must be 1: open " + path + ": permission denied; " +
			"sysctl net.ipv6.conf.all.forwarding must be 1 and cannot be read: open " + n.dir + "/sys/net/ipv6/conf/all/forwarding: no such file or directory",
	}
	if diff := cmp.Diff([]desired.Problem{problem}, r.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "sysctls.json")); err == nil {
		t.Error("a value that was not changed is kept as changed")
	}
	settled(t, n.Dataplane, want)
}

// The bridge's filter hooks need a module: it is loaded when it is missing, and asked for again by full passes only.
func TestBridgeNetfilter(t *testing.T) {
	n := newFakeNode(t)
	o := options(t)
	o.StateDir, o.ProcSys = n.dir, filepath.Join(n.dir, "sys")
	o.Kernel, o.Table, o.Forward = n.kernel, n.table, n.forward
	path := filepath.Join(o.ProcSys, "net/bridge/bridge-nf-call-iptables")
	asked, found := 0, false
	o.LoadModule = func(_ context.Context, module string) error {
		if asked++; module != "br_netfilter" || !found {
			return os.ErrNotExist
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte("0\n"), 0o644)
	}
	d := newDataplane(t, o)
	want := n.before()
	want.Sysctls["net/bridge/bridge-nf-call-iptables"] = "1"
	for range 3 {
		r := sync(t, d, want)
		if len(r.Problems) != 1 || r.Problems[0].Reason != v1alpha1.ReasonHostNotConfigured {
			t.Errorf("got problems %v, want HostNotConfigured", r.Problems)
		}
	}
	if asked != 1 {
		t.Errorf("asked for the module %d times in one full and two other passes, want 1", asked)
	}
	found = true
	if r, err := d.Sync(context.Background(), want, true); err != nil || len(r.Problems) > 0 {
		t.Errorf("got error %v, problems %v, want none", err, r.Problems)
	}
	if b, _ := os.ReadFile(path); string(b) != "1" {
		t.Errorf("got %q, want 1", b)
	}
}

// A damaged record is said once and does not stop the work.
func TestDamagedRecord(t *testing.T) {
	n := newFakeNode(t)
	if err := os.WriteFile(filepath.Join(n.dir, "sysctls.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Sync(context.Background(), n.before(), false); err == nil || !strings.Contains(err.Error(), "read old sysctls") {
		t.Errorf("got error %v, want that the record cannot be read", err)
	}
	sync(t, n.Dataplane, n.before())
	settled(t, n.Dataplane, n.before())
}
