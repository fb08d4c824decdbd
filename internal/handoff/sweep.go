package handoff

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What host-local keeps beside the addresses in use, in a directory of the network's name.
const (
	lockName   = "lock"
	lastPrefix = "last_reserved_ip."
)

// Sweep removes what the plugins leave in the directory of the hand-off file when the last pod has gone: directories, and what
// host-local notes down for itself. While a pod has an address, all that says so stays.
func Sweep(dir string) error {
	dataDir := filepath.Join(dir, filepath.Base(DefaultDataDir))
	networks, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list addresses of pods: %w", err)
	}
	for _, n := range networks {
		if err := sweepNetwork(filepath.Join(dataDir, n.Name())); err != nil {
			return fmt.Errorf("sweep addresses of pods: %w", err)
		}
	}
	for _, empty := range []string{dataDir, PodsDir(filepath.Join(dir, filepath.Base(DefaultPath))), dir} {
		// What is in use, a volume's mount included, is not removed.
		_ = os.Remove(empty)
	}
	return nil
}

// sweepNetwork removes host-local's directory under host-local's lock. Who waits for that meanwhile finds no directory to note
// an address in, and fails.
func sweepNetwork(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not host-local's
	}
	if err != nil {
		return err
	}
	defer lock.Close() // which ends the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockName && !strings.HasPrefix(e.Name(), lastPrefix) {
			return nil
		}
	}
	return os.RemoveAll(dir)
}
