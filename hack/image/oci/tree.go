package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is the file system of a layer while it is put together. Everything belongs to root and has no time. What is added at
// a path that exists replaces it, directories with their content excepted; missing parents become directories of mode 0755.
// The zero value is an empty tree.
type Tree struct {
	entries map[string]entry
}

type entry struct {
	mode   fs.FileMode
	data   []byte
	source string
	target string
}

// Data adds a file with the given content.
func (t *Tree) Data(name string, content []byte, perm fs.FileMode) {
	t.put(name, entry{mode: perm, data: content})
}

// File adds a file with the content that source has when the layer is made; a symbolic link is followed. A perm of 0 takes
// the permissions of source.
func (t *Tree) File(name, source string, perm fs.FileMode) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("add %s: %s is not a file", name, source)
	}
	if perm == 0 {
		perm = info.Mode().Perm()
	}
	t.put(name, entry{mode: perm, source: source})
	return nil
}

// Dir adds a directory; perm may contain fs.ModeSticky.
func (t *Tree) Dir(name string, perm fs.FileMode) { t.put(name, entry{mode: fs.ModeDir | perm}) }

// Symlink adds a symbolic link to target, which need not exist.
func (t *Tree) Symlink(name, target string) {
	t.put(name, entry{mode: fs.ModeSymlink | 0o777, target: target})
}

// Remove takes away what is at name, a directory with its content. Nothing there is success.
func (t *Tree) Remove(name string) {
	name = clean(name)
	maps.DeleteFunc(t.entries, func(key string, _ entry) bool {
		return key == name || strings.HasPrefix(key, name+"/")
	})
}

// Has says whether something was added at name.
func (t *Tree) Has(name string) bool {
	_, ok := t.entries[clean(name)]
	return ok
}

// Merge adds the files, directories and symbolic links below dir at the path name. Links are kept as they are. Anything
// else, a device for example, is an error.
func (t *Tree) Merge(name, dir string) error {
	return filepath.WalkDir(dir, func(source string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, source)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		at := path.Join(name, filepath.ToSlash(rel))
		switch info.Mode().Type() {
		case 0:
			return t.File(at, source, info.Mode().Perm())
		case fs.ModeDir:
			t.Dir(at, info.Mode().Perm()|info.Mode()&fs.ModeSticky)
		case fs.ModeSymlink:
			target, err := os.Readlink(source)
			if err != nil {
				return err
			}
			t.Symlink(at, target)
		default:
			return fmt.Errorf("add %s: %s is neither file, directory nor link", at, source)
		}
		return nil
	})
}

func (t *Tree) put(name string, e entry) {
	name = clean(name)
	if name == "" {
		// The root of a layer is the container runtime's.
		return
	}
	if t.entries == nil {
		t.entries = map[string]entry{}
	}
	t.entries[name] = e
}

// names returns every path in the order of the archive, parents included, which comes out before their content.
func (t *Tree) names() ([]string, error) {
	all := map[string]bool{}
	var errs []error
	for name := range t.entries {
		all[name] = true
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if e, ok := t.entries[dir]; ok && !e.mode.IsDir() {
				errs = append(errs, fmt.Errorf("add %s: %s is not a directory", name, dir))
			}
			all[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(all)), errors.Join(errs...)
}

// get returns the entry of a path of names.
func (t *Tree) get(name string) entry {
	if e, ok := t.entries[name]; ok {
		return e
	}
	return entry{mode: fs.ModeDir | 0o755}
}

// content returns what a file consists of.
func (e entry) content() ([]byte, error) {
	if e.source == "" {
		return e.data, nil
	}
	f, err := os.Open(e.source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// clean gives a path the form it has in the archive: relative, without dots; "" is the root.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// Write puts the tree into the folder dir, which may exist and be filled by other trees: what `docker build` copies. Everything
// belongs to whoever calls it.
func (t *Tree) Write(dir string) error {
	names, err := t.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		e, at := t.get(name), filepath.Join(dir, filepath.FromSlash(name))
		if err := writeEntry(at, e); err != nil {
			return fmt.Errorf("write %s: %w", at, err)
		}
	}
	return nil
}

func writeEntry(at string, e entry) error {
	switch {
	case e.mode.IsDir():
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		return os.Chmod(at, e.mode&(fs.ModePerm|fs.ModeSticky))
	case e.mode&fs.ModeSymlink != 0:
		return os.Symlink(e.target, at)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	content, err := e.content()
	if err != nil {
		return err
	}
	if err := os.WriteFile(at, content, 0o600); err != nil {
		return err
	}
	return os.Chmod(at, e.mode.Perm())
}
