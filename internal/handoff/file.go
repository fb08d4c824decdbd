package handoff

import (
	"fmt"
	"os"
	"path/filepath"
)

// Read returns the file at path. The error wraps fs.ErrNotExist when there is none, and names the field when it cannot be
// used.
func Read(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, err // os already says what and where
	}
	f, err := Parse(data)
	if err != nil {
		return File{}, fmt.Errorf("parse %s: %w", path, err)
	}
	return f, nil
}

// Write replaces the file at path in one step, mode 0644 whatever the umask; the directory is created if it is missing. On
// an error the previous file is untouched. It does not sync to disk: the file need not, and must not, survive a reboot. Two
// processes may write at once; one of them wins.
func Write(path string, f File) error {
	data, err := Marshal(f)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return replaceFile(path, data)
}

// replaceFile is how every file of this package is written.
func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
