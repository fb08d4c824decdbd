package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// readLinks reads the devices. Without them nothing has an index, so a failure ends the pass.
func (p *pass) readLinks() {
	found, err := retried("devices", p.kernel.Links)
	if err != nil {
		p.blind = true
		p.fail(KindLink, err)
		return
	}
	p.links, p.names = make(map[string]Link, len(found)), make(map[int]string, len(found))
	for _, l := range found {
		p.links[l.Name] = l
		p.names[l.Index] = l.Name
	}
}

// makeLinks makes the devices that are missing, puts right those that differ, and pods back onto their bridge.
func (p *pass) makeLinks() {
	names := slices.Sorted(maps.Keys(p.want.Links))
	made := false
	for _, name := range names {
		made = p.makeLink(name, p.want.Links[name]) || made
	}
	if made {
		if p.readLinks(); p.blind {
			return
		}
	}
	for _, name := range names {
		if have, ok := p.links[name]; ok && !p.unusable[name] {
			p.changeLink(have, p.want.Links[name])
		} else {
			p.unusable[name] = true
		}
	}
	p.plugPods()
}

// makeLink makes one device unless a fitting one is there, and says whether it changed any. A device that carries hopsack's
// mark and cannot be changed into the wanted one makes room for it.
func (p *pass) makeLink(name string, want desired.Link) bool {
	in := p.inTheWay(name, want)
	if in == nil && p.links[name].Index != 0 {
		return false
	}
	if in != nil && !in.own() {
		p.unusable[name] = true
		p.foreignDevice(name, want, *in)
		return false
	}
	if in != nil && !p.did(KindLink, wrap(p.kernel.DeleteLink(in.Index), "delete link %s", in.Name)) {
		p.unusable[name] = true
		return true
	}
	if !p.madeLink(name, wrap(p.kernel.CreateLink(name, want), "create %s %s", want.Kind, name)) {
		p.unusable[name] = true
	}
	return true
}

// inTheWay is the device that keeps the wanted one from existing, nil for none.
func (p *pass) inTheWay(name string, want desired.Link) *Link {
	if have, ok := p.links[name]; ok {
		if have.becomes(want) {
			return nil
		}
		return &have
	}
	if want.Kind != desired.KindVXLAN {
		return nil
	}
	// The kernel refuses a second device with a VNI and port, whatever its name, address or lower device.
	for _, l := range p.links {
		if l.Kind == desired.KindVXLAN && l.VNI == want.VNI && l.Port == want.Port {
			return &l
		}
	}
	return nil
}

// becomes says whether a device can be changed into the wanted one in place.
func (l Link) becomes(want desired.Link) bool {
	if l.Kind == desired.KindTUN && want.Kind == desired.KindTUN {
		return l.Queues // what it is without cannot be changed
	}
	if l.Kind != want.Kind || l.Kind != desired.KindVXLAN {
		return l.Kind == want.Kind
	}
	sameFamily := !l.Local.IsValid() || l.Local.Is4() == want.Local.Is4()
	return l.VNI == want.VNI && l.Port == want.Port && l.Lower == 0 && sameFamily
}

func (p *pass) foreignDevice(name string, want desired.Link, in Link) {
	if in.Name == name {
		p.problem(v1alpha1.ReasonForeignDevice, "device %s is a %s that is not hopsack's, and hopsack needs the name", name, kindName(in.Kind))
		return
	}
	p.problem(v1alpha1.ReasonForeignDevice, "device %s holds VNI %d on UDP port %d, which hopsack needs: delete it, or choose another VNI or port",
		in.Name, want.VNI, want.Port)
}

func kindName(k desired.LinkKind) string {
	if k == "" || k == "device" {
		return "device of another kind"
	}
	return string(k)
}

// changeLink puts right what differs, the state last: a device comes up as it is to be.
func (p *pass) changeLink(have Link, want desired.Link) {
	for _, c := range []struct {
		what    LinkAttr
		differs bool
	}{
		{AttrAlias, have.Alias != Alias},
		{AttrMAC, want.Kind != desired.KindTUN && have.MAC != want.MAC},
		{AttrMaster, want.Kind == desired.KindVXLAN && have.Master != 0},
		{AttrMTU, have.MTU != want.MTU},
		{AttrLocal, want.Kind == desired.KindVXLAN && have.Local != want.Local},
		{AttrLearning, want.Kind == desired.KindVXLAN && have.Learning},
		{AttrUp, !have.Up},
	} {
		if !c.differs {
			continue
		}
		err := p.kernel.ChangeLink(have.Index, c.what, want)
		if errors.Is(err, unix.EADDRINUSE) {
			err = fmt.Errorf("%w (another program listens on UDP port %d)", err, want.Port)
		}
		if !p.madeLink(have.Name, wrap(err, "set %s of link %s", c.what, have.Name)) && c.what == AttrUp {
			p.unusable[have.Name] = true
		}
	}
}

// dropLinks deletes hopsack's devices that are no longer wanted, tunnels a while later. It waits while routes or addresses
// could not be moved off them.
func (p *pass) dropLinks() {
	for _, name := range slices.Sorted(maps.Keys(p.links)) {
		l := p.links[name]
		if _, wanted := p.want.Links[name]; wanted || !l.own() || p.lingering[name] {
			continue
		}
		if !p.ok(KindRoute, KindLink) || p.routes.held {
			p.held++
			continue
		}
		if p.did(KindLink, wrap(p.kernel.DeleteLink(l.Index), "delete link %s", name)) && l.ownTunnel() {
			delete(p.closing, name)
			p.closed = true
		}
	}
}

// usable is the index of a device that entries can be made on. A wanted device that is not usable has said why already.
func (p *pass) usable(name string) (int, bool) {
	l, ok := p.links[name]
	return l.Index, ok && !p.unusable[name]
}

// wrap adds what was tried to an error, and leaves nil alone.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
