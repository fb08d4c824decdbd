package dataplane

import (
	"time"
)

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
		left := p.opts.Linger - now.Sub(since)
		if left <= 0 {
			continue
		}
		p.lingering[name] = true
		if p.again == 0 || left < p.again {
			p.again = left
		}
	}
}
