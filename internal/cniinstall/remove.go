package cniinstall

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Remove takes away what Install put into the directory and nobody has changed since, the main plugin first, puts back what was
// there before, and returns the names of those plugins. What others have put in a plugin's place stays. It may be called again at
// any time, also where nothing was ever installed.
func Remove(dir string) ([]string, error) {
	d, err := open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	names, err := d.names(keptPrefix)
	if err != nil {
		return nil, err
	}
	names = slices.AppendSeq(names, maps.Keys(d.record))
	slices.Sort(names)
	names = slices.Compact(names)
	slices.Reverse(names)
	if i := slices.Index(names, main); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, main)
	}
	var removed []string
	for _, name := range names {
		changed, err := d.remove(name)
		if err != nil {
			return removed, fmt.Errorf("remove %s: %w", filepath.Join(dir, name), err)
		}
		if changed {
			removed = append(removed, name)
		}
	}
	if len(names) > 0 {
		clear(d.record)
		err = d.save()
	}
	return removed, errors.Join(err, d.sweep())
}

// remove takes one plugin away and says whether it was hopsack's.
func (d *directory) remove(name string) (bool, error) {
	there, err := d.look(name)
	if err != nil {
		return false, err
	}
	kept, err := d.look(keptPrefix + name)
	if err != nil {
		return false, err
	}
	ours := there.sum != "" && slices.Contains(d.record[name], there.sum)
	place, aside := filepath.Join(d.path, name), filepath.Join(d.path, keptPrefix+name)
	switch {
	case !kept.absent && (ours || there.absent): // a file of somebody else's that only hopsack has moved
		return ours, os.Rename(aside, place)
	case !kept.absent: // whoever put another one there has no use for the older one
		return false, remove(aside)
	case ours:
		return true, remove(place)
	}
	return false, nil
}
