package dataplane

import (
	"time"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// tunLinger is how many times longer a TUN device lingers: packets wait in its queue until the process that serves it gets a turn,
// which took seconds on a machine with ten times more to do than it had processors for, and lost them with the device.
const tunLinger = 10

// findUnwanted looks for tunnels that are there and not wanted any more. Packets that a peer sent just before it changed its
// path are still on their way, so a tunnel goes only some time after it was first seen unwanted, and all that is on it with it.
func (p *pass) findUnwanted() {
	p.lingering, p.closing = map[string]bool{}, map[string]bool{}
	for name, l := range p.links {
		if _, wanted := p.want.Links[name]; !wanted && l.ownTunnel() {
			p.closing[name] = true
		}
	}
	for name := range p.unwanted {
		if !p.closing[name] {
			delete(p.unwanted, name)
		}
	}
	if p.want.Firewall == nil {
		return // hopsack leaves
	}
	now := time.Now()
	for name := range p.closing {
		since, known := p.unwanted[name]
		if !known {
			since = now
			p.unwanted[name] = now
		}
		linger := p.opts.Linger
		if p.links[name].Kind == desired.KindTUN {
			linger *= tunLinger
		}
		left := linger - now.Sub(since)
		if left <= 0 {
			continue
		}
		p.lingering[name] = true
		if p.again == 0 || left < p.again {
			p.again = left
		}
	}
}
