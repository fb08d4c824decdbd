package cniconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLook(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		want  Found
	}{
		"only ours":        {files: []string{"05-hopsack.conflist"}, want: Found{Ours: true}},
		"only another":     {files: []string{"10-flannel.conflist"}, want: Found{Foreign: []string{"10-flannel.conflist"}}},
		"a leftover":       {files: []string{"05-hopsack.conflist", "10-flannel.conflist"}, want: Found{Ours: true, Foreign: []string{"10-flannel.conflist"}}},
		"one that is used": {files: []string{"05-hopsack.conflist", "00-multus.conf"}, want: Found{true, []string{"00-multus.conf"}, true}},
		"not read by runtimes": {
			files: []string{"05-hopsack.conflist", "00-multus.conf.bak", ".05-hopsack.conflist.123", "README"}, want: Found{Ours: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Look(filepath.Join(dir, "05-hopsack.conflist"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Look() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookWithoutDirectory(t *testing.T) {
	got, err := Look(filepath.Join(t.TempDir(), "none", "05-hopsack.conflist"))
	if diff := cmp.Diff(Found{}, got); err != nil || diff != "" {
		t.Errorf("Look() error %v (-want +got):\n%s", err, diff)
	}
}
