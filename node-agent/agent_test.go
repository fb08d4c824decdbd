package nodeagent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"k8s.io/client-go/rest"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// watchedKernel tells when the first write of a pass on a bare node is made: a device.
type watchedKernel struct {
	dataplane.Kernel
	creates func(device string)
}

func (k *watchedKernel) CreateLink(name string, l desired.Link) error {
	k.creates(name)
	return k.Kernel.CreateLink(name, l)
}

// newAgent is the agent of n1 in a namespace with an underlay, with an API server that nobody can reach.
func newAgent(t *testing.T) (*Agent, *watchedKernel) {
	t.Helper()
	nstest.Enter(t)
	for _, command := range []string{
		"ip link add eth0 type veth peer name eth0p", "ip addr add 172.30.0.11/24 dev eth0", "ip link set eth0p up", "ip link set eth0 up",
		"ip route add default via 172.30.0.1",
	} {
		nstest.Run(t, command)
	}
	dir := t.TempDir()
	a, err := New(Options{
		NodeName: "n1", Config: &rest.Config{Host: "http://127.0.0.1:1"}, StateDir: filepath.Join(dir, "state"), Log: testr.New(t),
		Paths: desired.Paths{
			Handoff: filepath.Join(dir, "run/cni.json"), Conflist: filepath.Join(dir, "net.d/05-hopsack.conflist"),
			SubnetEnv: filepath.Join(dir, "subnet.env"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	netlink, err := dataplane.NewNetlink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(netlink.Close)
	kernel := &watchedKernel{Kernel: netlink, creates: func(string) {}}
	o := dataplaneOptions(a.opts)
	o.Kernel, o.LoadModule = kernel, func(context.Context, string) error { return errors.New("not in a test") }
	if a.dataplane, err = dataplane.New(o); err != nil {
		t.Fatal(err)
	}
	a.prober, a.tunnels = &fakeProber{}, &fakeTunnels{}
	a.verifier = newVerifier(a.prober, func() {}, a.metrics, a.log)
	a.view.onlyThese(nil, now)
	return a, kernel
}

func own(reason string) *v1alpha1.SubnetLease {
	ip := "172.30.0.11"
	if reason == v1alpha1.ReasonPending {
		ip = ""
	}
	return lease("10.244.1.0-24", "10.244.1.0/24", "n1", ip, reason)
}

// runPass runs one pass that must not fail.
func runPass(t *testing.T, a *Agent) {
	t.Helper()
	if err := a.pass(context.Background(), false); err != nil {
		t.Fatalf("pass: %v", err)
	}
}

// What is in the kernel is on disk before, peers that join later included: a power cut in between must not leave a node that
// boots into another network than the one it had.
func TestPassSavesBeforeItWrites(t *testing.T) {
	a, kernel := newAgent(t)
	var made []string
	kernel.creates = func(device string) {
		made = append(made, device)
		saved, found, err := store.Load(a.opts.StateDir)
		if err != nil || !found || saved.Node.Name != "n1" || len(saved.Leases) != 2 {
			t.Errorf("when %s is made, on disk are %d leases of node %q, found %t, error %v", device, len(saved.Leases), saved.Node.Name, found, err)
		}
	}
	a.view.setNode(nodeNetwork())
	a.view.setLease(own(v1alpha1.ReasonBound), now)
	a.view.setLease(bound(), now)
	runPass(t, a)
	if len(made) != 2 {
		t.Errorf("made devices %v, want the bridge and the tunnel", made)
	}
}

// No pod starts before peers can know its node; one that runs stays plugged in whatever the API server forgets later.
func TestPassHandsOverOncePublished(t *testing.T) {
	a, _ := newAgent(t)
	handoff := func() bool {
		_, err := os.Stat(a.opts.Paths.Handoff)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err == nil
	}
	a.view.setNode(nodeNetwork())
	for _, step := range []struct {
		what  string
		event func()
		want  bool
	}{
		{"without a lease", func() {}, false},
		{"with a lease without endpoint", func() { a.view.setLease(own(v1alpha1.ReasonPending), now) }, false},
		{"published", func() { a.view.setLease(own(v1alpha1.ReasonBound), now) }, true},
		{"endpoint vanished", func() { a.view.setLease(own(v1alpha1.ReasonPending), time.Now()) }, true},
		{"lease missing from a list", func() { a.view.loseLease("10.244.1.0-24", false, time.Now()) }, true},
		{"NodeNetwork missing", func() { a.view.loseNode(time.Now()) }, true},
		{"lease deleted", func() { a.view.loseLease("10.244.1.0-24", true, time.Now()) }, false},
	} {
		step.event()
		runPass(t, a)
		if got := handoff(); got != step.want {
			t.Errorf("%s: the hand-off is there: %t, want %t", step.what, got, step.want)
		}
	}
}

// An agent that starts without its state hears of its node before it hears of the peers. Their routes are in the kernel, and
// stay; and no list without them gets onto the disk.
func TestPassWaitsForTheLeases(t *testing.T) {
	a, _ := newAgent(t)
	peer := func() string { return nstest.Run(t, "ip route show proto 104 10.244.2.0/24") }
	a.view.setNode(nodeNetwork())
	a.view.setLease(bound(), now)
	runPass(t, a)
	if peer() == "" {
		t.Fatal("no route to the peer")
	}
	before, _, err := store.Load(a.opts.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	a.view = newView()
	a.view.setNode(nodeNetwork())
	runPass(t, a)
	if peer() == "" {
		t.Error("the peer's route went before the list of leases came")
	}
	if after, _, err := store.Load(a.opts.StateDir); err != nil || len(after.Leases) != len(before.Leases) {
		t.Errorf("%d leases on disk, error %v, want the %d of before", len(after.Leases), err, len(before.Leases))
	}
	a.view.onlyThese(nil, now)
	runPass(t, a)
	if got := peer(); got != "" {
		t.Errorf("route to a peer that is in no list and on no disk: %s", got)
	}
}

// A node that boots takes up the network it had, unless that may be another one's by now.
func TestRestore(t *testing.T) {
	for name, tc := range map[string]struct {
		node string
		age  time.Duration
		want bool
	}{
		"young":          {"n1", 59 * time.Minute, true},
		"past retention": {"n1", 61 * time.Minute, false},
		"another node's": {"n2", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := newAgent(t)
			content := store.Content{SavedAt: time.Now().Add(-tc.age), Node: *nodeNetwork(), Leases: []v1alpha1.SubnetLease{*bound()}}
			content.Node.Name = tc.node
			if err := store.Save(a.opts.StateDir, content); err != nil {
				t.Fatal(err)
			}
			if err := a.restore(); err != nil {
				t.Fatal(err)
			}
			if got := a.view.take(time.Now()).Node != nil; got != tc.want {
				t.Errorf("restored: %t, want %t", got, tc.want)
			}
		})
	}
}

func TestBootIDComesFromTheFlag(t *testing.T) {
	a, _ := newAgent(t)
	file := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(file, []byte("second-boot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := a.opts
	o.BootIDFile = file
	again, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if again.bootID != "second-boot" {
		t.Errorf("boot id %q", again.bootID)
	}
}
