package cni

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// DEL releases the address and removes the interface, whatever else is gone already.
func TestDelWithoutTheRest(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		lose  func(n *node) error
		netns string // "": the pod's own
	}{
		"nothing gone":           {lose: func(*node) error { return nil }},
		"no hand-off file":       {lose: func(n *node) error { return os.Remove(n.handoff) }},
		"broken hand-off file":   {lose: func(n *node) error { return os.WriteFile(n.handoff, []byte("{"), 0o600) }},
		"no bridge":              {lose: func(n *node) error { return n.try(deleteBridge) }},
		"no cache of the result": {lose: func(n *node) error { return os.RemoveAll(n.cacheDir) }},
		"namespace gone":         {lose: func(n *node) error { return os.Remove(n.handoff) }, netns: "/run/netns/no-such-pod"},
		"namespace not mounted":  {lose: func(n *node) error { return os.Remove(n.handoff) }, netns: plain},
	} {
		t.Run(name, func(t *testing.T) {
			n, p, other := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1"), newPod(t, "pod-2")
			n.add(t, p)
			n.add(t, other)
			if err := tc.lose(n); err != nil {
				t.Fatal(err)
			}
			rt := p.conf()
			if tc.netns != "" {
				rt.NetNS = tc.netns
			}
			for range 2 {
				if err := n.tryDel(t, rt); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if got := n.inUse(t); len(got) != 1 || got[0] != "10.244.1.4" {
				t.Errorf("addresses in use: %v, want only the other pod's", got)
			}
			if tc.netns == "" {
				if err := p.try(func() error { return deleteLink("eth0") }); err == nil {
					t.Error("the pod still has eth0")
				}
			}
		})
	}
}

func TestDelWithoutNamespaceGiven(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	rt := p.conf()
	rt.NetNS = ""
	if err := n.tryDel(t, rt); err != nil {
		t.Error(err)
	}
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("addresses in use: %v", got)
	}
}

// On a node that never had the network, or has it no more, DEL succeeds and makes no directory.
func TestDelMakesNothing(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	if err := os.Remove(n.handoff); err != nil {
		t.Fatal(err)
	}
	n.del(t, p)
	if _, err := os.Stat(n.dataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data directory: got %v, want none", err)
	}
}

// A pod of another type of delegate was never plugged in; its DEL must not hang on that.
func TestDelIgnoresWhatAddRefuses(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	n.keys = map[string]any{"delegate": map[string]any{"type": "macvlan", "ipMasq": true, "vlan": 7}}
	n.del(t, p)
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("addresses in use: %v", got)
	}
}

// A reboot wipes /run. All addresses are free again, also those of pods that never got a DEL, and late DELs for them succeed.
func TestReboot(t *testing.T) {
	f := file("10.244.1.0/29")
	n := newNode(t, f)
	var before []pod
	for _, id := range []string{"a", "b", "c", "d"} {
		p := newPod(t, id)
		n.add(t, p)
		before = append(before, p)
	}
	if _, err := n.tryAdd(t, newPod(t, "e").conf()); err == nil {
		t.Fatal("fifth pod in a /29: got no error")
	}

	if err := errors.Join(os.RemoveAll(n.dataDir), os.Remove(n.handoff)); err != nil {
		t.Fatal(err)
	}
	for _, p := range before {
		p.close()
	}
	if _, err := n.tryAdd(t, newPod(t, "early").conf()); err == nil {
		t.Error("ADD before the agent is back: got no error")
	}
	n.write(t, f)
	after := []pod{newPod(t, "a2"), newPod(t, "b2"), newPod(t, "c2"), newPod(t, "d2")}
	for _, p := range after {
		n.add(t, p)
	}
	for _, p := range before {
		rt := p.conf()
		rt.NetNS = "/run/netns/" + p.id
		if err := n.tryDel(t, rt); err != nil {
			t.Errorf("late DEL %s: %v", p.id, err)
		}
	}
	if got := n.inUse(t); len(got) != len(after) {
		t.Errorf("addresses in use: %v, want those of %d new pods", got, len(after))
	}
}
