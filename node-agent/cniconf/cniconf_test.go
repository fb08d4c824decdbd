package cniconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForeign(t *testing.T) {
	for name, tc := range map[string]struct {
		files    []string
		want     []string
		shadowed bool
	}{
		"only ours":        {files: []string{"05-hopsack.conflist"}},
		"a leftover":       {files: []string{"05-hopsack.conflist", "10-flannel.conflist"}, want: []string{"10-flannel.conflist"}},
		"one that is used": {files: []string{"05-hopsack.conflist", "00-multus.conf"}, want: []string{"00-multus.conf"}, shadowed: true},
		"not read by runtimes": {
			files: []string{"05-hopsack.conflist", "00-multus.conf.bak", ".05-hopsack.conflist.123", "README"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, shadowed, err := Foreign(filepath.Join(dir, "05-hopsack.conflist"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || shadowed != tc.shadowed {
				t.Errorf("Foreign() shadowed %t, want %t; (-want +got):\n%s", shadowed, tc.shadowed, diff)
			}
		})
	}
}

func TestForeignWithoutDirectory(t *testing.T) {
	found, shadowed, err := Foreign(filepath.Join(t.TempDir(), "none", "05-hopsack.conflist"))
	if err != nil || shadowed || found != nil {
		t.Errorf("Foreign() = %v, %t, %v, want nothing", found, shadowed, err)
	}
}
