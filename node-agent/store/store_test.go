package store

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "save")
	if _, found, err := Load(dir); found || err != nil {
		t.Fatalf("Load of nothing = %t, %v", found, err)
	}
	want := Content{
		SavedAt: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
		Node:    v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: v1alpha1.NodeNetworkSpec{Transmit: "a"}},
		Leases:  []v1alpha1.SubnetLease{{ObjectMeta: metav1.ObjectMeta{Name: "10.244.2.0-24"}}},
		Agent: &Agent{
			Confirmed: "a", Proven: "172.30.0.11",
			Failed: &v1alpha1.FailedRevision{Revision: "b", Failing: []v1alpha1.FailingPeer{{Node: "n2", Reason: v1alpha1.ProbeNoAnswer}}},
		},
	}
	if err := Save(dir, want); err != nil {
		t.Fatal(err)
	}
	got, found, err := Load(dir)
	if err != nil || !found {
		t.Fatalf("Load = %t, %v", found, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content (-saved +loaded):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("Save left %d files, want 1 (%v)", len(entries), err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("removing nothing: %v", err)
	}
}

// A power cut while it saves leaves what was saved before, so the file is never written in place.
func TestSaveReplaces(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, Content{Node: v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := Save(dir, Content{}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(old); string(b) != string(before) {
		t.Errorf("the old file reads %q, %v, want %q", b, err, before)
	}
}

func TestLoadSaysWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("{half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), FileName) {
		t.Errorf("Load = %v, want an error that names the file", err)
	}
}
