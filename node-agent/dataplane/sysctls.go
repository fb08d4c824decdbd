package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// sysctlFile keeps old values, below StateDir.
const sysctlFile = "sysctls.json"

// savedSysctl is a value hopsack replaced. It is on disk before the new value is in the kernel.
type savedSysctl struct {
	// Old is what was found, Set what was written: the old value comes back only where nobody has written since.
	Old string `json:"old"`
	Set string `json:"set"`
}

// sysctls reads and writes the host's settings and remembers what they were.
type sysctls struct {
	root  string
	path  string
	load  func(ctx context.Context, module string) error
	saved map[string]savedSysctl // nil until read from disk
	// lastNeeded is when a key was last wanted, as far as this process knows.
	lastNeeded map[string]time.Time
}

func newSysctls(o Options) *sysctls {
	return &sysctls{root: o.ProcSys, path: filepath.Join(o.StateDir, sysctlFile), load: o.LoadModule, lastNeeded: map[string]time.Time{}}
}

func (s *sysctls) read(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.root, key))
	return strings.TrimSpace(string(b)), err
}

func (s *sysctls) write(key, value string) error {
	f, err := os.OpenFile(filepath.Join(s.root, key), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// restore reads the saved values once. A file that cannot be understood is an error once and counts as empty after.
func (s *sysctls) restore() error {
	if s.saved != nil {
		return nil
	}
	s.saved = map[string]savedSysctl{}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s.saved)
	}
	if err != nil {
		s.saved = map[string]savedSysctl{}
		return fmt.Errorf("read old sysctls: %w", err)
	}
	return nil
}

// remember saves what a value was before hopsack changed it.
func (s *sysctls) remember(key string, v savedSysctl) error {
	if s.saved[key] == v {
		return nil
	}
	s.saved[key] = v
	return s.save()
}

func (s *sysctls) forget(key string) error {
	delete(s.saved, key)
	return s.save()
}

func (s *sysctls) save() error {
	if len(s.saved) == 0 {
		return ignore(os.Remove(s.path), fs.ErrNotExist)
	}
	b, err := json.MarshalIndent(s.saved, "", "  ")
	if err != nil {
		return fmt.Errorf("encode old sysctls: %w", err)
	}
	return writeFile(s.path, append(b, '\n'))
}

// setSysctls sets what differs. What cannot be set is a Problem that says what the host's owner must set.
func (p *pass) setSysctls() {
	p.fail(KindSysctl, p.sysctls.restore())
	for _, key := range slices.Sorted(maps.Keys(p.want.Sysctls)) {
		p.setSysctl(key, p.want.Sysctls[key])
	}
	p.loosen()
}

func (p *pass) setSysctl(key, want string) {
	found, err := p.sysctls.read(key)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net/bridge/") && p.full {
		if err = p.sysctls.load(p.ctx, "br_netfilter"); err == nil {
			found, err = p.sysctls.read(key)
		}
	}
	if err != nil {
		p.problem(v1alpha1.ReasonHostNotConfigured, "sysctl %s must be %s and cannot be read: %v", dotted(key), want, err)
		return
	}
	if found == want {
		return
	}
	if !p.saveOld(key, found, want) {
		return
	}
	if err := p.sysctls.write(key, want); err != nil {
		p.fail(KindSysctl, p.sysctls.forget(key))
		p.problem(v1alpha1.ReasonHostNotConfigured, "sysctl %s is %s and must be %s: %v", dotted(key), found, want, err)
		return
	}
	p.did(KindSysctl, nil)
}

func (p *pass) saveOld(key, old, set string) bool {
	if err := p.sysctls.remember(key, savedSysctl{Old: old, Set: set}); err != nil {
		p.fail(KindSysctl, fmt.Errorf("save old value of sysctl %s: %w", dotted(key), err))
		return false
	}
	return true
}

// dotted is a key as sysctl(8) prints it.
func dotted(key string) string { return strings.ReplaceAll(key, "/", ".") }

const (
	strictFilter = 1
	looseFilter  = 2
)

func rpFilterKey(device string) string { return "net/ipv4/conf/" + device + "/rp_filter" }

// loosen makes reverse path filtering loose where it is strict. The kernel applies the larger of the value for all devices
// and that of the device, and loose is the larger number.
func (p *pass) loosen() {
	all, err := p.sysctls.read(rpFilterKey("all"))
	if errors.Is(err, fs.ErrNotExist) {
		return // no IPv4, no filter
	}
	for _, device := range slices.Sorted(maps.Keys(p.want.Loose)) {
		link, ok := p.links[device]
		if !ok {
			continue // it has said so, or its routes will
		}
		own, ownErr := p.sysctls.read(rpFilterKey(device))
		if err := errors.Join(err, ownErr); err != nil {
			p.fail(KindSysctl, fmt.Errorf("read rp_filter of %s: %w", device, err))
			continue
		}
		if max(all, own) != fmt.Sprint(strictFilter) || !p.saveOld(rpFilterKey(device), own, fmt.Sprint(looseFilter)) {
			continue
		}
		if err := p.setRPFilter(link.Index, device, looseFilter); err != nil {
			p.fail(KindSysctl, p.sysctls.forget(rpFilterKey(device)))
			p.problem(v1alpha1.ReasonHostNotConfigured, "sysctl %s is strict and must be loose (2): %v", dotted(rpFilterKey(device)), err)
			continue
		}
		p.did(KindSysctl, nil)
	}
}

// setRPFilter sets the value by netlink, and by /proc/sys where the kernel refuses that.
func (p *pass) setRPFilter(index int, device string, value int) error {
	first := p.kernel.SetRPFilter(index, value)
	if first == nil {
		return nil
	}
	second := p.sysctls.write(rpFilterKey(device), fmt.Sprint(value))
	if second == nil {
		return nil
	}
	return errors.Join(first, second)
}

// restoreSysctls gives back the old values of what is no longer needed, unless somebody else has set it meanwhile.
func (p *pass) restoreSysctls() {
	for _, key := range slices.Sorted(maps.Keys(p.sysctls.saved)) {
		switch {
		case p.needed(key):
			p.sysctls.lastNeeded[key] = time.Now()
		case !p.lingers(key):
			p.giveBack(key, p.sysctls.saved[key])
		}
	}
}

// lingers says that packets may still come in that a strict filter would drop. After a start it is not known when the filter
// was last needed: it may have been just before. Nothing lingers when hopsack leaves.
func (p *pass) lingers(key string) bool {
	if p.want.Firewall == nil || !strings.HasSuffix(key, "/rp_filter") {
		return false
	}
	if _, known := p.sysctls.lastNeeded[key]; !known {
		p.sysctls.lastNeeded[key] = time.Now()
	}
	return time.Since(p.sysctls.lastNeeded[key]) < p.opts.KeepLoose
}

func (p *pass) needed(key string) bool {
	if _, ok := p.want.Sysctls[key]; ok {
		return true
	}
	for device := range p.want.Loose {
		if key == rpFilterKey(device) {
			return true
		}
	}
	for device := range p.lingering {
		if key == rpFilterKey(device) {
			return true
		}
	}
	return false
}

func (p *pass) giveBack(key string, v savedSysctl) {
	found, err := p.sysctls.read(key)
	if err == nil && found == v.Set && found != v.Old {
		if !p.did(KindSysctl, wrap(p.writeOld(key, v.Old), "restore sysctl %s", dotted(key))) {
			return
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without the device, there is nothing to restore
		p.fail(KindSysctl, fmt.Errorf("read sysctl %s: %w", dotted(key), err))
		return
	}
	p.fail(KindSysctl, p.sysctls.forget(key))
}

// writeOld writes a value back, an rp_filter the way it was set.
func (p *pass) writeOld(key, old string) error {
	var value int
	for name, l := range p.links {
		if key == rpFilterKey(name) {
			if _, err := fmt.Sscan(old, &value); err == nil {
				return p.setRPFilter(l.Index, name, value)
			}
		}
	}
	return p.sysctls.write(key, old)
}

// modprobe loads a module with the host's tool, where there is one.
func modprobe(ctx context.Context, module string) error {
	path, err := exec.LookPath("modprobe")
	if err != nil {
		return fmt.Errorf("kernel module %s is not loaded, and there is no modprobe here", module)
	}
	if out, err := exec.CommandContext(ctx, path, "--", module).CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe %s: %w: %s", module, err, strings.TrimSpace(string(out)))
	}
	return nil
}
