package cniinstall

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// recordName is the file that says what hopsack put beside it, keptPrefix how the names of files begin that were there before.
const (
	recordName = ".hopsack-plugins.json"
	keptPrefix = ".hopsack-kept."
)

// directory is one that the container runtime looks for plugins in, held against others who install or remove.
type directory struct {
	path string
	lock *os.File
	// record has the SHA-256 of each plugin that was put there, or is about to be, by name: two while one version replaces another.
	record map[string][]string
}

// open waits until nobody else installs or removes.
func open(path string) (*directory, error) {
	lock, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the plugins' directory: %w", err)
	}
	d := &directory{path: path, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), lock.Close())
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read what was installed: %w", err), lock.Close())
	}
	return d, nil
}

// load reads the record. Files are replaced whole, so somebody else has written what cannot be read, and nobody knows any more
// whose the plugins are.
func (d *directory) load() error {
	d.record = map[string][]string{}
	file := filepath.Join(d.path, recordName)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &d.record); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if d.record == nil {
		return fmt.Errorf("%s: it holds nothing", file)
	}
	return nil
}

func (d *directory) close() { d.lock.Close() } // which ends the lock

// save writes the record, or removes an empty one.
func (d *directory) save() error {
	var err error
	if len(d.record) == 0 {
		err = remove(filepath.Join(d.path, recordName))
	} else {
		err = d.write(recordName, 0o644, func(out io.Writer) error {
			encoder := json.NewEncoder(out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(d.record)
		})
	}
	if err != nil {
		return fmt.Errorf("record what is installed: %w", err)
	}
	return d.lock.Sync() // before anything that it speaks of
}

// sweep removes what was not renamed any more.
func (d *directory) sweep() error {
	names, err := d.names(tempPrefix)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, remove(filepath.Join(d.path, tempPrefix+name)))
	}
	return errors.Join(errs...)
}

// names lists the files whose names begin so, without that beginning.
func (d *directory) names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list installed plugins: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), prefix); ok {
			out = append(out, name)
		}
	}
	return out, nil
}

// found is what is in a plugin's place: nothing, a file with that content, a link, or something else.
type found struct {
	absent   bool
	sum      string
	link     string
	runnable bool // by everybody, and written by root only
}

func (d *directory) look(name string) (found, error) {
	path := filepath.Join(d.path, name)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found{absent: true}, nil
	case err != nil:
		return found{}, err
	case info.Mode().IsRegular():
		sum, err := sumOf(path)
		return found{sum: sum, runnable: info.Mode().Perm() == 0o755}, err
	case info.Mode().Type() == fs.ModeSymlink:
		link, err := os.Readlink(path)
		return found{link: link}, err
	}
	return found{}, nil
}

// sumOf is the SHA-256 of a file.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// remove removes a file that may not be there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
