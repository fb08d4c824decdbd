package cniconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Foreign returns the CNI configurations beside ours, and whether one of them sorts before it and is the one that runtimes
// use. A directory that does not exist holds none.
func Foreign(ours string) (found []string, shadowed bool, err error) {
	entries, err := os.ReadDir(filepath.Dir(ours))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	own := filepath.Base(ours)
	for _, e := range entries { // ReadDir sorts by name
		name := e.Name()
		if e.IsDir() || name == own || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(name)) {
			continue
		}
		found = append(found, name)
		shadowed = shadowed || name < own
	}
	return found, shadowed, nil
}
