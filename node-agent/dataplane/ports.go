package dataplane

import (
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// kindVeth is the kind of pods' ports.
const kindVeth = "veth"

// PodPort says whether a device of that kind and ifalias is a pod's port, which the CNI plugin made and marked, and how it
// is to be set.
func PodPort(kind, alias string) (handoff.Port, bool) {
	if kind != kindVeth {
		return handoff.Port{}, false
	}
	return handoff.ParsePort(alias)
}

// plugPods puts pods' ports back onto the bridge: those that lost it, as all do when it is deleted, and those on a bridge
// hopsack had before. The plugin marks a port once it is on the bridge, so none of them is one that it is still working on.
// A port that somebody put onto a device of their own stays there.
func (p *pass) plugPods() {
	bridge, ok := p.podBridge()
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.links)) {
		l := p.links[name]
		want, pod := PodPort(string(l.Kind), l.Alias)
		if !pod || l.Master == bridge.Index && l.BridgePort == want {
			continue
		}
		master := p.links[p.names[l.Master]]
		if l.Master != 0 && l.Master != bridge.Index && !master.own() {
			p.problem(v1alpha1.ReasonForeignDevice, "pod's port %s was put onto %s, which is not hopsack's: the pod is cut off until it is on %s",
				name, master.Name, bridge.Name)
			continue
		}
		err := p.kernel.SetPort(l.Index, bridge.Index, want)
		if errors.Is(err, unix.ENODEV) {
			continue // the pod has stopped meanwhile
		}
		p.did(KindLink, wrap(err, "put %s on bridge %s", name, bridge.Name))
	}
}

// podBridge is the wanted bridge, if it is there.
func (p *pass) podBridge() (Link, bool) {
	for name, l := range p.want.Links {
		if l.Kind == desired.KindBridge {
			have, ok := p.links[name]
			return have, ok && !p.unusable[name]
		}
	}
	return Link{}, false
}
