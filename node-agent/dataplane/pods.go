package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
)

// podMemory is what is known to be right, so that a pass in which no pod came costs a look at a directory.
type podMemory struct {
	// mtu is what all pods had after the last pass, if settled.
	mtu     int
	settled bool
	done    map[string]podDone
}

// podDone is a record, and the mtu its pod has.
type podDone struct {
	changed time.Time // of the record: a new one of the same name is another pod's
	size    int64
	mtu     int
}

// noLimit stands for an mtu of 0 where mtus are compared.
const noLimit = 1 << 30

func limit(mtu int) int {
	if mtu == 0 {
		return noLimit
	}
	return mtu
}

// lowerPods has running pods send no larger packets than the routes about to be made can carry. It is before the routes: the
// other way round, packets that are too large would be on the way already.
func (p *pass) lowerPods() {
	if p.pods.settled && limit(p.want.PodMTU) >= limit(p.pods.mtu) {
		return
	}
	p.pods.settled = false
	p.setPods(false)
}

// settlePods gives every pod's default route the mtu of the routes, raised where these have grown. It comes after the hand-off:
// a pod that is plugged in meanwhile either has its record seen here, or sees the new hand-off.
func (p *pass) settlePods() {
	raise := p.ok(KindRoute, KindFile) && !p.routes.held
	failed := p.setPods(raise)
	if p.pods.settled = raise && !failed; p.pods.settled {
		p.pods.mtu = p.want.PodMTU
	}
}

// setPods visits the pods whose mtu is not known to be right; a full pass visits all of them.
func (p *pass) setPods(raise bool) (failed bool) {
	if p.opts.PodsDir == "" || p.want.Firewall == nil {
		return false
	}
	entries, err := os.ReadDir(p.opts.PodsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.fail(KindPod, fmt.Errorf("list records of pods: %w", err))
		return true
	}
	done := make(map[string]podDone, len(entries))
	for _, e := range entries {
		if p.ctx.Err() != nil {
			return true
		}
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), ".") {
			continue // gone since, or being written
		}
		is := podDone{info.ModTime(), info.Size(), p.want.PodMTU}
		if was, ok := p.pods.done[e.Name()]; ok && was == is && !(p.full && raise) {
			done[e.Name()] = is
			continue
		}
		if !p.setPod(filepath.Join(p.opts.PodsDir, e.Name()), raise) {
			failed = true
		} else if raise {
			done[e.Name()] = is
		}
	}
	p.pods.done = done
	return failed
}

// setPod visits one pod, and says whether its routes are as they should be.
func (p *pass) setPod(record string, raise bool) bool {
	pod, err := handoff.ReadPod(record)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.problem(v1alpha1.ReasonHostNotConfigured, "the record of a pod cannot be used, its route keeps the mtu it has: %v", err)
		}
		return true
	}
	changed, err := p.kernel.SetPodMTU(pod, p.want.PodMTU, raise)
	if err != nil {
		p.fail(KindPod, fmt.Errorf("set mtu %d in pod %s: %w", p.want.PodMTU, pod.ContainerID, err))
		return false
	}
	if changed > 0 {
		p.changes[KindPod] += changed
	}
	return true
}

// nsfsMagic is the type of the file system that namespaces are files of (linux/magic.h).
const nsfsMagic = 0x6e736673

// SetPodMTU opens netlink inside the pod for as long as it takes.
func (k *Netlink) SetPodMTU(p handoff.Pod, mtu int, raise bool) (changed int, err error) {
	inside, err := netns.GetFromPath(p.Netns)
	if err != nil {
		return 0, ignore(fmt.Errorf("open namespace %s: %w", p.Netns, err), fs.ErrNotExist)
	}
	defer inside.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(inside), &stat); err != nil || stat.Type != nsfsMagic {
		return 0, err // only the file is left that the namespace was mounted on
	}
	handle, err := netlink.NewHandleAt(inside, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("enter namespace %s: %w", p.Netns, err)
	}
	defer handle.Close()
	if err := handle.SetSocketTimeout(kernelTimeout); err != nil {
		return 0, err
	}
	link, err := handle.LinkByName(p.IfName)
	if err != nil {
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return 0, nil
		}
		return 0, err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		n, err := setDefaultMTU(handle, link, family, mtu, raise)
		if changed += n; err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func setDefaultMTU(handle *netlink.Handle, link netlink.Link, family, mtu int, raise bool) (changed int, err error) {
	routes, err := retried("routes of "+link.Attrs().Name, func() ([]netlink.Route, error) { return handle.RouteList(link, family) })
	if err != nil {
		return 0, err
	}
	for _, r := range routes {
		if !isDefault(r) || r.MTU == mtu || !raise && limit(r.MTU) < limit(mtu) {
			continue
		}
		r.MTU = mtu
		r.Flags &= int(netlink.FLAG_ONLINK) // of the flags a dump shows, only this one may be set
		if err := handle.RouteReplace(&r); err != nil {
			return changed, fmt.Errorf("replace the default route by %s: %w", link.Attrs().Name, err)
		}
		changed++
	}
	return changed, nil
}

// isDefault knows both forms in which the library shows the destination of a default route. One without a gateway is not the
// CNI plugin's.
func isDefault(r netlink.Route) bool {
	if r.Gw == nil {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}
