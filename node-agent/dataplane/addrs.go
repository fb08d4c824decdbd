package dataplane

import (
	"cmp"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// labelSuffix marks hopsack's IPv4 addresses on the bridge, the one device of hopsack's that may carry other addresses: a
// bridge left behind by docker or flannel is taken over with whatever it has.
const labelSuffix = ":hs"

// label is the mark of an address on a bridge, or "" where there is no room for one or the family has none.
func label(device string, prefix netip.Prefix) string {
	if !prefix.Addr().Is4() || len(device)+len(labelSuffix) >= unix.IFNAMSIZ {
		return ""
	}
	return device + labelSuffix
}

// makeAddrs adds the addresses that are missing on usable devices and finds those that are too many.
func (p *pass) makeAddrs() {
	found, err := retried("addresses", p.kernel.Addrs)
	if err != nil {
		p.failRead(KindAddress, err)
		return
	}
	actual := map[desired.AddrKey]desired.Scope{}
	full := map[desired.AddrKey]Addr{}
	for _, a := range found {
		name := p.names[a.Index]
		if _, wanted := p.want.Links[name]; !wanted || p.unusable[name] {
			continue
		}
		key := desired.AddrKey{Device: name, Prefix: a.Prefix}
		scope, wanted := p.want.Addrs[key]
		if !wanted && !p.ownAddr(name, a) {
			continue
		}
		if wanted && a.Prefix.Addr().Is6() {
			a.Scope = scope // the kernel derives it from the address
		}
		actual[key], full[key] = a.Scope, a
	}
	delta := Diff(p.want.Addrs, actual, compareAddrs)
	for _, e := range delta.Set {
		p.setAddr(e, full[e.Key])
	}
	for _, key := range delta.Delete {
		p.spareAddrs = append(p.spareAddrs, full[key])
	}
}

// ownAddr says whether an address that nobody wants may be removed. On a vxlan device everything is hopsack's. On the bridge
// the mark decides, or, where an address can carry none, whether it lies in the pod networks; any other address is said and
// left alone, because connections of pods from an earlier network may depend on it.
func (p *pass) ownAddr(name string, a Addr) bool {
	if p.want.Links[name].Kind != desired.KindBridge {
		return true
	}
	if a.Prefix.Addr().IsLinkLocalUnicast() {
		return false
	}
	if mark := label(name, a.Prefix); mark != "" && a.Label == mark || mark == "" && p.inPodNetworks(a.Prefix) {
		return true
	}
	p.problem(v1alpha1.ReasonForeignDevice, "bridge %s carries %s, which is not hopsack's: remove it once no pod uses it", name, a.Prefix)
	return false
}

func (p *pass) inPodNetworks(prefix netip.Prefix) bool {
	if p.want.Firewall == nil {
		return false
	}
	for _, n := range p.want.Firewall.PodNetworks {
		if n.Contains(prefix.Addr()) {
			return true
		}
	}
	return false
}

// setAddr adds one address. An address has its scope from birth, so one with another scope is removed first.
func (p *pass) setAddr(e Entry[desired.AddrKey, desired.Scope], have Addr) {
	index, ok := p.usable(e.Key.Device)
	if !ok {
		p.held++
		return
	}
	if e.Was && !p.did(KindAddress, wrap(p.kernel.DeleteAddr(have), "delete address %s on %s", e.Key.Prefix, e.Key.Device)) {
		return
	}
	a := Addr{Index: index, Prefix: e.Key.Prefix, Scope: e.Value}
	if p.want.Links[e.Key.Device].Kind == desired.KindBridge {
		a.Label = label(e.Key.Device, e.Key.Prefix)
	}
	p.did(KindAddress, wrap(p.kernel.AddAddr(a), "add address %s on %s", e.Key.Prefix, e.Key.Device))
}

// dropAddrs removes the addresses that are too many. A route with one of them as its source would go with it, so it waits
// for the routes.
func (p *pass) dropAddrs() {
	for _, a := range p.spareAddrs {
		if !p.ok(KindRoute) || p.routes.held {
			p.held++
			continue
		}
		p.did(KindAddress, wrap(p.kernel.DeleteAddr(a), "delete address %s on %s", a.Prefix, p.names[a.Index]))
	}
}

func compareAddrs(a, b desired.AddrKey) int {
	return cmp.Or(strings.Compare(a.Device, b.Device), a.Prefix.Compare(b.Prefix))
}
