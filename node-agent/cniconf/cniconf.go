package cniconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Found is what a directory holds.
type Found struct {
	// Ours says that hopsack's own file is there.
	Ours bool
	// Foreign are the names of the others, sorted.
	Foreign []string
	// Shadowed says that one of them sorts before hopsack's and is the one that runtimes use.
	Shadowed bool
}

// Look reads the directory that ours, the path of hopsack's file, is in. A directory that does not exist holds nothing.
func Look(ours string) (Found, error) {
	var found Found
	entries, err := os.ReadDir(filepath.Dir(ours))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	own := filepath.Base(ours)
	for _, e := range entries { // ReadDir sorts by name
		name := e.Name()
		found.Ours = found.Ours || name == own
		if e.IsDir() || name == own || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(name)) {
			continue
		}
		found.Foreign = append(found.Foreign, name)
		found.Shadowed = found.Shadowed || name < own
	}
	return found, nil
}
