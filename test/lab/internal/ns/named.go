package ns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is where named network namespaces live, as `ip netns` expects them.
const Dir = "/run/netns"

// Path returns the file that stands for the network namespace called name.
func Path(name string) string { return filepath.Join(Dir, name) }

// Exists says whether path is a network namespace (an unmounted leftover file is not).
func Exists(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Create makes a new network namespace and binds it to path. An existing namespace is kept as it is; a leftover file is
// taken over. The new namespace has the kernel's settings, with lo down.
func Create(path string) error {
	if Exists(path) {
		return nil
	}
	if err := makeMountPoint(path); err != nil {
		return err
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		return bind("/proc/thread-self/ns/net", path)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("create network namespace %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// Bind makes the namespace that source stands for reachable at path too. source may lie in another mount namespace
// (/proc/PID/root/...).
func Bind(source, path string) error {
	if err := makeMountPoint(path); err != nil {
		return err
	}
	if err := bind(source, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Delete takes the name at path away; the namespace goes when its last process and socket have gone. What is absent
// already is success.
func Delete(path string) error {
	for {
		// A crash may have left several mounts on one name; each unmount takes off one.
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// List returns the names below Dir that begin with prefix, in order.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func makeMountPoint(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}
