package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
)

func TestGCReleasesWhatTheRuntimeForgot(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24", "fd00::/64"))
	keep, lost := newPod(t, "keep"), newPod(t, "lost")
	n.add(t, keep)
	n.add(t, lost)
	// Files of an old host-local: no interface in them.
	for addr, id := range map[string]string{"10.244.1.100": "keep", "10.244.1.101": "old"} {
		if err := os.WriteFile(filepath.Join(n.dataDir, "hopsack", addr), []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.gc(t, keep); err != nil {
		t.Fatal(err)
	}
	want := []string{"10.244.1.100", "10.244.1.3", "fd00::3"}
	if diff := cmp.Diff(want, n.inUse(t)); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
	for _, said := range []string{"released 10.244.1.4, container lost is gone", "released fd00::4, ", "released 10.244.1.101, container old "} {
		if !strings.Contains(n.stderr.String(), said) {
			t.Errorf("stderr %q lacks %q", n.stderr.String(), said)
		}
	}
	// The pod it kept still checks, a second GC finds nothing, and one with no pods frees the rest.
	if err := n.check(t, keep); err != nil {
		t.Errorf("CHECK after GC: %v", err)
	}
	if err := n.gc(t, keep); err != nil || n.stderr.Len() > 0 {
		t.Errorf("second GC: got %v and %q, want nothing", err, n.stderr.String())
	}
	if err := n.gc(t); err != nil {
		t.Error(err)
	}
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("in use after GC of everything: %v", got)
	}
}

func TestGCGoesByInterfaceToo(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	if err := os.WriteFile(filepath.Join(n.dataDir, "hopsack", "10.244.1.9"), []byte("pod-1\r\nnet1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.gc(t, p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.244.1.3"}, n.inUse(t)); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
}

func TestGCWithoutList(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"hopsack","type":"hopsack","dataDir":%q%%s}`, n.dataDir)
	wantCode(t, n.raw("GC", fmt.Sprintf(conf, "")), types.ErrInvalidNetworkConfig, "cni.dev/valid-attachments: missing, nothing is released")
	wantCode(t, n.raw("GC", fmt.Sprintf(conf, `,"cni.dev/valid-attachments":null`)), types.ErrInvalidNetworkConfig, "missing")
	wantCode(t, n.raw("GC", fmt.Sprintf(conf, `,"cni.dev/valid-attachments":{}`)), types.ErrDecodingFailure, "got a JSON object, want an array")
	if got := n.inUse(t); len(got) != 1 {
		t.Errorf("in use: %v, want the pod's", got)
	}
	// The name early texts of CNI 1.1.0 had.
	if err := n.raw("GC", fmt.Sprintf(conf, `,"cni.dev/attachments":[]`)); err != nil {
		t.Error(err)
	}
	if got := n.inUse(t); len(got) != 0 {
		t.Errorf("in use: %v, want none", got)
	}
}

func TestGCWithoutNetwork(t *testing.T) {
	n := newNode(t, file("10.244.1.0/24"))
	if err := n.gc(t); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(n.dataDir); err == nil {
		t.Error("GC made the data directory")
	}
}

func TestGCReportsWhatItCannotRead(t *testing.T) {
	n, p := newNode(t, file("10.244.1.0/24")), newPod(t, "pod-1")
	n.add(t, p)
	if err := os.Mkdir(filepath.Join(n.dataDir, "hopsack", "10.244.1.200"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.gc(t); err == nil || !strings.Contains(err.Error(), "read who uses 10.244.1.200") {
		t.Errorf("got %v", err)
	}
	if got := n.inUse(t); len(got) != 2 {
		t.Errorf("in use: %v, want all kept on doubt", got)
	}
}
