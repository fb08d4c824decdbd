package cniinstall

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	d, err := open(to)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if err := d.sweep(); err != nil {
		return nil, err
	}
	var installed []string
	for _, name := range names {
		changed, err := d.install(filepath.Join(from, name), name)
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

// install puts one file in place and says whether it had to.
func (d *directory) install(source, name string) (bool, error) {
	sum, err := sumOf(source)
	if err != nil {
		return false, err
	}
	there, err := d.look(name)
	if err != nil {
		return false, err
	}
	if there.sum == sum && there.runnable {
		return false, nil
	}
	known := []string{sum}
	switch ours := d.record[name]; {
	case there.absent:
	case there.sum != "" && slices.Contains(ours, there.sum):
		known = append(known, there.sum) // until it is replaced
	default:
		if err := d.keep(name, there); err != nil {
			return false, fmt.Errorf("keep what is there: %w", err)
		}
	}
	if !slices.Equal(d.record[name], known) {
		d.record[name] = known
		if err := d.save(); err != nil {
			return false, err
		}
	}
	return true, d.replace(source, name, sum)
}

// replace puts a file in the place of another one, or of none. Its content must be what was recorded.
func (d *directory) replace(source, name, sum string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	return d.write(name, 0o755, func(out io.Writer) error {
		hash := sha256.New()
		if _, err := io.Copy(io.MultiWriter(out, hash), in); err != nil {
			return err
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
			return fmt.Errorf("%s changes while it is read", source)
		}
		return nil
	})
}

// keep puts aside what is in a plugin's place and is not hopsack's. It stays in its place as well, until it is replaced.
func (d *directory) keep(name string, there found) error {
	kept := filepath.Join(d.path, keptPrefix+name)
	temp := filepath.Join(d.path, tempPrefix+"kept")
	if err := remove(temp); err != nil {
		return err
	}
	switch {
	case there.link != "":
		if err := os.Symlink(there.link, temp); err != nil {
			return err
		}
	case there.sum == "":
		return errors.New("it is neither a file nor a link")
	default:
		if err := os.Link(filepath.Join(d.path, name), temp); err != nil {
			if err := d.copy(name, temp); err != nil { // not every file system has hard links
				return err
			}
		}
	}
	if err := os.Rename(temp, kept); err != nil {
		return err
	}
	return remove(temp) // which a rename leaves where both are the same file
}

// copy copies a file with its permissions.
func (d *directory) copy(name, to string) error {
	in, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return d.write(filepath.Base(to), info.Mode().Perm(), func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// write writes a file beside its place, and renames it.
func (d *directory) write(name string, perm fs.FileMode, content func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(d.path, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(f.Name()))
		}
	}()
	// Synced before it is renamed: a node that loses power must not come back with an empty plugin.
	if err = errors.Join(content(f), f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(d.path, name))
}

// Describe says in words what Install returned.
func Describe(installed []string) string {
	if len(installed) == 0 {
		return "every plugin is in place already"
	}
	return "installed " + strings.Join(installed, ", ")
}
