package nft

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

func newForward(t testing.TB) *Forward {
	t.Helper()
	f, err := NewForward()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func syncForward(t testing.TB, f *Forward, want *desired.Firewall, full bool, changes int) {
	t.Helper()
	got, problems, err := f.Sync(context.Background(), want, full)
	if err != nil || len(problems) > 0 || got != changes {
		t.Errorf("got %d changes, problems %v, error %v, want %d changes", got, problems, err, changes)
	}
}

// chain lists FORWARD with a variant of iptables.
func chain(t testing.TB, program string) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(nstest.Run(t, program+" -S FORWARD")), "\n")
}

var accepted = []string{
	"-A FORWARD -s 10.244.0.0/16 -m comment --comment hopsack -j ACCEPT",
	"-A FORWARD -d 10.244.0.0/16 -m comment --comment hopsack -j ACCEPT",
}

// docker is what Docker leaves: its chains, and a policy that drops all it does not know.
func docker(program string) []string {
	return []string{
		program + " -N DOCKER-USER", program + " -N DOCKER-FORWARD", program + " -I FORWARD -j DOCKER-FORWARD", program + " -I FORWARD -j DOCKER-USER",
		program + " -A DOCKER-FORWARD -o docker0 -j DROP", program + " -P FORWARD DROP",
	}
}

// Pods' packets pass a FORWARD chain as Docker leaves it, whichever came first, in both variants.
func TestForwardUnderDocker(t *testing.T) {
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		for _, order := range []string{"before", "after"} {
			t.Run(program+" "+order, func(t *testing.T) {
				w := newWorld(t)
				w.listen(w.outside, "10.244.2.2:7000")
				w.listen(w.pod, "10.244.1.2:7000")
				if order == "before" {
					w.in(w.node, docker(program)...)
					if got := w.seen(w.pod, "", "10.244.2.2:7000"); got != nothing {
						t.Fatalf("got source %s through a chain that drops", got)
					}
				}
				w.apply(testFirewall())
				if _, _, err := w.forward.Sync(context.Background(), testFirewall(), true); err != nil {
					t.Fatal(err)
				}
				if order == "after" {
					w.in(w.node, docker(program)...)
					syncForward(t, w.forward, testFirewall(), true, map[string]int{"iptables-nft": 0, "iptables-legacy": 2}[program])
				}
				for what, got := range map[string]string{
					"out": w.seen(w.pod, "", "10.244.2.2:7000"), "in": w.seen(w.outside, "10.244.2.2", "10.244.1.2:7000"),
				} {
					if got == nothing {
						t.Errorf("%s: got nothing", what)
					}
				}
				syncForward(t, w.forward, testFirewall(), true, 0)
				syncForward(t, w.forward, nil, true, map[string]int{"iptables-nft": 2, "iptables-legacy": 4}[program])
				if got := strings.Join(chain(t, program), "\n"); strings.Contains(got, "hopsack") || !strings.Contains(got, "DOCKER-USER") {
					t.Errorf("after removal got\n%s", got)
				}
			})
		}
	}
}

// Whatever is done to the rules is noticed by the look at the kernel that every pass takes.
func TestForwardAfterInterference(t *testing.T) {
	const spec = "FORWARD -d 10.244.0.0/16 -m comment --comment hopsack -j ACCEPT"
	for name, tc := range map[string]struct {
		command string
		changes int
		also    []string
	}{
		"rule deleted":            {command: "iptables-nft -D " + spec, changes: 1},
		"chain flushed":           {command: "iptables-nft -F FORWARD", changes: 2},
		"everything gone":         {command: "nft flush ruleset", changes: 2},
		"rule doubled":            {command: "iptables-nft -I " + spec, changes: 1},
		"old network left":        {command: "iptables-nft -A FORWARD -s 10.99.0.0/16 -m comment --comment hopsack -j ACCEPT", changes: 1},
		"somebody else's rule":    {command: "iptables-nft -A FORWARD -s 10.98.0.0/16 -j DROP", also: []string{"-A FORWARD -s 10.98.0.0/16 -j DROP"}},
		"rule replaced":           {command: "iptables-nft -R FORWARD 1 -s 10.244.0.0/16 -m comment --comment hopsack -j DROP", changes: 2},
		"another chain's changed": {command: "iptables-nft -A INPUT -j ACCEPT"},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			f := newForward(t)
			syncForward(t, f, testFirewall(), true, 2)
			nstest.Run(t, tc.command)
			syncForward(t, f, testFirewall(), false, tc.changes)
			want := append([]string{"-P FORWARD ACCEPT"}, append(accepted, tc.also...)...)
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(chain(t, "iptables-nft")))); diff != "" {
				t.Errorf("chain (-want +got):\n%s", diff)
			}
			syncForward(t, f, testFirewall(), false, 0)
			syncForward(t, f, testFirewall(), true, 0)
		})
	}
}

// The chain that iptables makes for the rules goes with the last of them, unless somebody has a use for it.
func TestForwardLeavesNoChain(t *testing.T) {
	for name, tc := range map[string]struct {
		before string
		stays  bool
	}{
		"nobody else":           {before: "true"},
		"another chain":         {before: "iptables-nft -A INPUT -j ACCEPT"},
		"somebody else's rule":  {before: "iptables-nft -A FORWARD -s 10.98.0.0/16 -j DROP", stays: true},
		"somebody's policy":     {before: "iptables-nft -P FORWARD DROP", stays: true},
		"an empty chain before": {before: "iptables-nft -P FORWARD ACCEPT"},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			nstest.Run(t, tc.before)
			f := newForward(t)
			syncForward(t, f, nil, true, 0) // nothing of ours, nothing to delete
			before := nstest.Run(t, "nft list ruleset")
			syncForward(t, f, testFirewall(), true, 2)
			syncForward(t, f, nil, true, 2)
			after := nstest.Run(t, "nft list ruleset")
			if got := strings.Contains(after, "chain FORWARD"); got != tc.stays {
				t.Errorf("the chain is there: %v, want %v; before\n%s\nafter\n%s", got, tc.stays, before, after)
			}
			syncForward(t, f, nil, false, 0)
			syncForward(t, f, nil, true, 0)
		})
	}
}

// The rules follow the pod networks, of both families.
func TestForwardFollowsNetworks(t *testing.T) {
	nstest.Enter(t)
	f := newForward(t)
	fw := testFirewall()
	syncForward(t, f, fw, false, 2)
	fw.PodNetworks = prefixes("10.244.0.0/16", "10.245.0.0/16", "fd00::/48")
	syncForward(t, f, fw, false, 4)
	fw.PodNetworks = prefixes("10.245.0.0/16")
	syncForward(t, f, fw, false, 4)
	want := []string{
		"-P FORWARD ACCEPT",
		"-A FORWARD -s 10.245.0.0/16 -m comment --comment hopsack -j ACCEPT",
		"-A FORWARD -d 10.245.0.0/16 -m comment --comment hopsack -j ACCEPT",
	}
	if diff := cmp.Diff(want, chain(t, "iptables-nft")); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	syncForward(t, newForward(t), nil, true, 2)
}

// An old table that nobody uses stays unused: looking at it with iptables-legacy would load it.
func TestForwardLeavesLegacyAlone(t *testing.T) {
	nstest.Enter(t)
	syncForward(t, newForward(t), testFirewall(), true, 2)
	if names, _ := os.ReadFile("/proc/thread-self/net/ip_tables_names"); len(names) > 0 {
		t.Errorf("got old tables %q, want none", names)
	}
}

// Without the program, or with a table it cannot read, the host's owner is told where packets may be dropped, and only there.
func TestForwardCannot(t *testing.T) {
	for name, tc := range map[string]struct {
		setup    string
		nft      string
		without  string
		problems []string
	}{
		"no program, policy accept": {setup: "iptables-nft -P FORWARD ACCEPT", without: "iptables-nft"},
		"no program, no table":      {without: "iptables-nft"},
		"no program, policy drop": {
			setup: "iptables-nft -P FORWARD DROP", without: "iptables-nft",
			problems: []string{"iptables-nft is not installed, and FORWARD may drop pods' packets: policy drop"},
		},
		"no program for the old tables": {
			setup: "iptables-legacy -P FORWARD DROP", without: "iptables-legacy",
			problems: []string{"iptables-legacy is not installed, and FORWARD may drop pods' packets: policy unknown"},
		},
		"table with sets": {
			nft: "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; " +
				"add set ip filter s { type ipv4_addr; }; add rule ip filter FORWARD fib daddr type local accept; add rule ip filter FORWARD ip saddr @s accept",
			problems: []string{"iptables-nft cannot list rules in FORWARD, because the table was made by another program: have that let the pod networks pass"},
		},
		"table of another priority": {
			nft:      "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 10; policy drop; }",
			problems: []string{"iptables-nft cannot insert rules in FORWARD, because the table was made by another program: have that let the pod networks pass"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			if tc.setup != "" {
				nstest.Run(t, tc.setup)
			}
			if tc.nft != "" {
				nft(t, tc.nft)
			}
			only(t, tc.without)
			_, problems, err := newForward(t).Sync(context.Background(), testFirewall(), true)
			if err != nil {
				t.Fatal(err)
			}
			var want []desired.Problem
			for _, message := range tc.problems {
				want = append(want, desired.Problem{Reason: v1alpha1.ReasonHostNotConfigured, Message: message})
			}
			if diff := cmp.Diff(want, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// only leaves the programs in the path but one.
func only(t *testing.T, without string) {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if program == without {
			continue
		}
		if err := os.Symlink(path, filepath.Join(dir, program)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// BenchmarkForward measures a pass in which nothing happened, one in which another table changed, and a full one.
func BenchmarkForward(b *testing.B) {
	for name, tc := range map[string]struct {
		full    bool
		prepare func(f *Forward)
	}{
		"nothing": {false, func(*Forward) {}}, "other table changed": {false, func(f *Forward) { f.generation-- }}, "full": {true, func(*Forward) {}},
	} {
		b.Run(name, func(b *testing.B) {
			nstest.Enter(b)
			f := newForward(b)
			syncForward(b, f, testFirewall(), true, 2)
			for b.Loop() {
				tc.prepare(f)
				syncForward(b, f, testFirewall(), tc.full, 0)
			}
		})
	}
}
