package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// JoinThread moves the calling thread, which must be locked and thrown away afterwards, to the places. What it starts begins
// there.
func JoinThread(places []Hierarchy) error {
	tid := []byte(strconv.Itoa(unix.Gettid()))
	for _, h := range places {
		if err := os.WriteFile(filepath.Join(h.Dir, "tasks"), tid, 0); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
	}
	return nil
}

// Join moves the calling process to the places.
func Join(places []Hierarchy) error {
	for _, h := range places {
		if err := os.WriteFile(filepath.Join(h.Dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
	}
	return nil
}

// Remove removes the places and everything below them. Their processes must have been killed: it waits for them until ctx is
// done. What is absent is success.
func Remove(ctx context.Context, places []Hierarchy) error {
	for {
		var errs []error
		for _, h := range places {
			errs = append(errs, removeTree(h.Dir))
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control groups: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeTree removes a group and those below it, the deepest first.
func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(dirs) {
		if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}
