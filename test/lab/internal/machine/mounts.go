package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// scratch holds the upper layers of the overlays, on the machine's own /run.
const scratch = "/run/.machine"

// mountSystem gives the machine its own /proc, /sys and /run.
func mountSystem() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	// The copies of the host's mounts below /run would keep other namespaces alive for as long as this machine runs.
	if err := detachBelow("/run"); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/run/netns", "/run/lock", scratch} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return newBootID()
}

// newBootID makes each start of a machine a boot of its own: nodes would share the host's, and keep it over a reboot.
func newBootID() error {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return err
	}
	file := filepath.Join(scratch, "boot_id")
	if err := os.WriteFile(file, id, 0o444); err != nil {
		return err
	}
	if err := unix.Mount(file, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind boot ID: %w", err)
	}
	return nil
}

// detachBelow unmounts everything mounted below dir in this mount namespace, the newest first.
func detachBelow(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		target := unescape.Replace(fields[4])
		// What another mount hides cannot be reached, and does not have to be.
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return nil
}

// unescape undoes how mountinfo writes the characters that would break its columns.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// tree makes directories that only this machine sees.
type tree struct {
	overlaid map[string]bool
}

// ensureDir makes dir exist. Where the host lacks it, the nearest directory that exists is covered by an overlay on tmpfs
// first, so that the host's tree is not touched.
func (t tree) ensureDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	base := filepath.Dir(dir)
	for {
		if info, err := os.Stat(base); err == nil && info.IsDir() {
			break
		}
		base = filepath.Dir(base)
	}
	if err := t.cover(base); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

func (t tree) cover(base string) error {
	if base == "/" {
		return errors.New("the root directory cannot be covered: make the top-level directory by hand")
	}
	for at := base; at != "/"; at = filepath.Dir(at) {
		if at == "/run" || t.overlaid[at] {
			return nil
		}
	}
	layer := filepath.Join(scratch, strings.ReplaceAll(strings.Trim(base, "/"), "/", "-"))
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(layer, dir), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, layer, layer)
	if err := unix.Mount("overlay", base, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay %s: %w", base, err)
	}
	t.overlaid[base] = true
	return nil
}
