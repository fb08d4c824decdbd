package cniinstall

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// main is the plugin that the runtime calls and that calls the others: it is installed last, so that a new one never meets
// old ones.
const main = "hopsack"

// tempPrefix is how the names of files begin that are not in place yet. A name that begins with a dot is no plugin's.
const tempPrefix = ".hopsack-install."

// Install copies every file of the directory from into the directory to, which must exist, and returns the names of those
// that were not there already with the same content and permissions, in the order they were put there. What an installation
// that was killed has left is removed. It may be called again at any time; two at once do no harm.
func Install(from, to string) ([]string, error) {
	names, err := plugins(from)
	if err != nil {
		return nil, err
	}
	if err := sweep(to); err != nil {
		return nil, err
	}
	var installed []string
	for _, name := range names {
		changed, err := install(filepath.Join(from, name), filepath.Join(to, name))
		if err != nil {
			return installed, fmt.Errorf("install %s: %w", filepath.Join(to, name), err)
		}
		if changed {
			installed = append(installed, name)
		}
	}
	return installed, nil
}

// plugins lists what there is to install, the main plugin last.
func plugins(from string) ([]string, error) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, fmt.Errorf("list plugins: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("list plugins: %s is not a file", filepath.Join(from, e.Name()))
		}
		if e.Name() != main {
			names = append(names, e.Name())
		}
	}
	if len(names) == len(entries) {
		return nil, fmt.Errorf("list plugins: there is no %s in %s", main, from)
	}
	return append(names, main), nil
}

// sweep removes what was not renamed any more.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list installed plugins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove leftover: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// install puts one file in place and says whether it had to.
func install(source, target string) (bool, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return false, err
	}
	if same(target, content) {
		return false, nil
	}
	return true, replace(target, content)
}

// same says that target is a file of its own with that content, which everybody may run.
func same(target string, content []byte) bool {
	info, err := os.Lstat(target)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 || info.Size() != int64(len(content)) {
		return false
	}
	found, err := os.ReadFile(target)
	return err == nil && bytes.Equal(found, content)
}

func replace(target string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(target), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	// Synced before it is renamed: a node that loses power must not come back with an empty plugin.
	if err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), target)
}

// Describe says in words what Install returned.
func Describe(installed []string) string {
	if len(installed) == 0 {
		return "every plugin is in place already"
	}
	return "installed " + strings.Join(installed, ", ")
}
