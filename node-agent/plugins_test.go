package nodeagent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// withPlugins has the agent install plugins, into a directory that another package has put one of them into.
func withPlugins(t *testing.T, a *Agent) {
	t.Helper()
	a.plugins.from, a.plugins.to = t.TempDir(), t.TempDir()
	for _, name := range []string{"bridge", "hopsack"} {
		put(t, filepath.Join(a.plugins.from, name), name)
	}
	put(t, filepath.Join(a.plugins.to, "bridge"), "the distribution's")
	a.view.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Spec.CNI.Conflist = v1alpha1.Enabled }))
	a.view.setLease(own(v1alpha1.ReasonBound), now)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// files is what a directory holds, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name()[0] != '.' {
			out[e.Name()] = string(content)
		}
	}
	return out
}

func wantFiles(t *testing.T, when string, a *Agent, conflist bool, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, files(t, a.plugins.to)); diff != "" {
		t.Errorf("%s: plugins (-want +got):\n%s", when, diff)
	}
	if got := exists(a.opts.Paths.Conflist); got != conflist {
		t.Errorf("%s: the CNI configuration is there: %t, want %t", when, got, conflist)
	}
}

var (
	ours   = map[string]string{"bridge": "bridge", "hopsack": "hopsack"}
	theirs = map[string]string{"bridge": "the distribution's"}
)

func teardown(generation int64) *v1alpha1.NodeNetwork {
	return nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.Generation, n.Spec.Teardown = generation, v1alpha1.TeardownRequested })
}

// The network goes and comes while the agent runs: with it the plugins, and what was in their place.
func TestPluginsComeAndGoWithTheNetwork(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	runPass(t, a)
	wantFiles(t, "with a network", a, true, ours)

	a.view.setNode(teardown(2))
	runPass(t, a)
	wantFiles(t, "torn down", a, false, theirs)
	if left, err := filepath.Glob(filepath.Join(a.plugins.to, ".*")); err != nil || len(left) != 0 {
		t.Errorf("left beside the plugins: %v, %v", left, err)
	}

	a.view.setNode(nodeNetwork(func(n *v1alpha1.NodeNetwork) { n.UID, n.Spec.CNI.Conflist = "another", v1alpha1.Enabled }))
	runPass(t, a)
	wantFiles(t, "with the next network", a, true, ours)
}

// A configuration without its plugins has kubelet try, and fail, to start every pod.
func TestNoConfigurationWithoutPlugins(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	source := a.plugins.from
	a.plugins.from = filepath.Join(source, "none")
	if err := a.pass(context.Background(), false); err == nil {
		t.Error("a pass without plugins does not fail")
	}
	wantFiles(t, "without plugins", a, false, theirs)
	a.plugins.from = source
	runPass(t, a)
	wantFiles(t, "once they are there", a, true, ours)

	a.plugins.from, a.plugins.placed = filepath.Join(source, "none"), false // a new process, whose image lacks them
	if err := a.pass(context.Background(), false); err == nil {
		t.Error("a pass without plugins does not fail")
	}
	wantFiles(t, "an agent that starts without them", a, true, ours)
}

// A plugin that somebody removes comes back: without it the node starts no pod. One that somebody replaced is theirs.
func TestPluginsThatVanishComeBack(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	runPass(t, a)
	put(t, filepath.Join(a.plugins.to, "bridge"), "the distribution's next")
	runPass(t, a)
	wantFiles(t, "replaced", a, true, map[string]string{"bridge": "the distribution's next", "hopsack": "hopsack"})

	if err := os.Remove(filepath.Join(a.plugins.to, "bridge")); err != nil {
		t.Fatal(err)
	}
	runPass(t, a)
	wantFiles(t, "removed", a, true, ours)
}

// The agent learns at once that one is gone, not with the next full pass.
func TestPluginsAreWatched(t *testing.T) {
	nstest.Enter(t)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(bin, "bridge"), "bridge")
	a, err := New(Options{
		NodeName: "n1", Config: &rest.Config{Host: "http://127.0.0.1:1"}, StateDir: dir, Log: testr.New(t), CNIBinDir: bin,
		Paths: desired.Paths{
			Handoff: filepath.Join(dir, "cni.json"), Conflist: filepath.Join(dir, "05-hopsack.conflist"), SubnetEnv: filepath.Join(dir, "subnet.env"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.monitor.Run(ctx) }()
	if err := os.Remove(filepath.Join(bin, "bridge")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.monitor.Events():
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A node is clean when its plugins are gone, too.
func TestTeardownWaitsForPlugins(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	runPass(t, a)
	record, err := filepath.Glob(filepath.Join(a.plugins.to, ".*.json"))
	if err != nil || len(record) != 1 {
		t.Fatalf("records: %v, %v", record, err)
	}
	text, err := os.ReadFile(record[0])
	if err != nil {
		t.Fatal(err)
	}
	put(t, record[0], "{")
	clean := func() bool {
		return slices.ContainsFunc(a.reporter.conditions(), func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionReady && c.Reason == v1alpha1.ReasonCleanedUp
		})
	}
	a.view.setNode(teardown(2))
	if err := a.pass(context.Background(), false); err == nil || clean() {
		t.Errorf("with plugins that cannot be removed: error %v, reported to be clean: %t", err, clean())
	}
	wantFiles(t, "not cleaned", a, false, ours)
	put(t, record[0], string(text))
	runPass(t, a)
	if !clean() {
		t.Error("not reported to be clean")
	}
	wantFiles(t, "cleaned", a, false, theirs)
}

// An agent that ends takes the plugins along only where no network needs them: pods go on starting while it is replaced.
func TestPluginsWhenTheAgentEnds(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	runPass(t, a)
	for _, step := range []struct {
		gone string
		want map[string]string
	}{{"", ours}, {a.opts.Paths.Conflist, ours}, {a.opts.Paths.Handoff, theirs}, {"", theirs}} {
		if step.gone != "" {
			if err := os.Remove(step.gone); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.plugins.leave(a.opts.Paths); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, files(t, a.plugins.to)); diff != "" {
			t.Errorf("without %q (-want +got):\n%s", step.gone, diff)
		}
	}
}

func TestCleanupRemovesPlugins(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	runPass(t, a)
	opts := a.opts
	opts.CNIBinDir = a.plugins.to
	changes, err := Cleanup(t.Context(), opts)
	if err != nil || changes[changedPlugin] != 2 {
		t.Errorf("got %v, %v", changes, err)
	}
	wantFiles(t, "cleaned", a, false, theirs)
	if changes, err = Cleanup(t.Context(), opts); err != nil || changes.Total() != 0 {
		t.Errorf("again: got %v, %v", changes, err)
	}
}

// Without a directory plugins are somebody else's matter.
func TestPluginsOfOthers(t *testing.T) {
	a, _ := newAgent(t)
	withPlugins(t, a)
	dir := a.plugins.to
	a.plugins.to = ""
	runPass(t, a)
	a.view.setNode(teardown(2))
	runPass(t, a)
	if diff := cmp.Diff(theirs, files(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
