package handoff

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSweep(t *testing.T) {
	const last, lock = "ipam/hopsack/last_reserved_ip.0", "ipam/hopsack/lock"
	for name, tc := range map[string]struct{ files, left []string }{
		"nothing":               {},
		"no pod":                {files: []string{last, lock}},
		"both families":         {files: []string{last, "ipam/hopsack/last_reserved_ip.1", lock}},
		"a pod":                 {files: []string{last, lock, "ipam/hopsack/10.244.1.7"}, left: []string{"ipam/hopsack/10.244.1.7", last, lock}},
		"a pod, over IPv6":      {files: []string{last, lock, "ipam/hopsack/fd00::7"}, left: []string{"ipam/hopsack/fd00::7", last, lock}},
		"a network before":      {files: []string{last, lock, "ipam/old/lock", "ipam/old/10.9.0.7"}, left: []string{"ipam/old/10.9.0.7", "ipam/old/lock"}},
		"not host-local's":      {files: []string{"ipam/mine/notes", lock}, left: []string{"ipam/mine/notes"}},
		"a record":              {files: []string{lock, "pods/c1-eth0"}, left: []string{"pods/c1-eth0"}},
		"the file is there yet": {files: []string{lock, "cni.json"}, left: []string{"cni.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hopsack")
			for _, f := range append(tc.files, "pods/x") {
				path := filepath.Join(dir, f)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Remove(filepath.Join(dir, "pods", "x")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := Sweep(dir); err != nil {
					t.Fatal(err)
				}
			}
			var left []string
			err := filepath.WalkDir(filepath.Dir(dir), func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					rel, _ := filepath.Rel(dir, path)
					left = append(left, rel)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(left)
			if diff := cmp.Diff(tc.left, left); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(dir); (err == nil) != (len(tc.left) > 0) {
				t.Errorf("the directory itself: %v", err)
			}
		})
	}
}
