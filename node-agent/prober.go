package nodeagent

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/hopsack-net/hopsack/internal/handoff"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
	"github.com/hopsack-net/hopsack/node-agent/udp"
)

// tunnels carry the packets of the udp backend. All methods may be called concurrently.
type tunnels interface {
	// Set makes exactly these tunnels work.
	Set([]desired.UDPTunnel) error
	// Stats are the tunnels' counters.
	Stats() []udp.Stat
	// Close ends them all.
	Close() error
}

// lastingProber is a prober that can be configured again after it was closed: a node may be torn down and come back.
type lastingProber struct {
	make func() pathProber

	mu   sync.Mutex
	made pathProber
}

func (p *lastingProber) Configure(c probe.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		p.made = p.make()
	}
	return p.made.Configure(c)
}

func (p *lastingProber) present() pathProber {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

func (p *lastingProber) Ask(ctx context.Context, path string, target probe.Target) probe.Answer {
	if made := p.present(); made != nil {
		return made.Ask(ctx, path, target)
	}
	return probe.Answer{}
}

func (p *lastingProber) Diagnose(ctx context.Context, path string, target probe.Target, a probe.Answer) probe.Finding {
	if made := p.present(); made != nil {
		return made.Diagnose(ctx, path, target, a)
	}
	return probe.Finding{}
}

func (p *lastingProber) Close() error {
	p.mu.Lock()
	made := p.made
	p.made = nil
	p.mu.Unlock()
	if made == nil {
		return nil
	}
	return made.Close()
}

// probeConfig is what a prober needs for a state of the node. It is false where the node's subnet is too small for an address to
// probe from.
func probeConfig(s snapshot, underlay desired.Underlay, probes []desired.Probe) (probe.Config, bool) {
	subnet := s.Parsed.StableSubnet()
	address, ok := handoff.ReservedAddress(subnet)
	if !ok {
		return probe.Config{}, false
	}
	c := probe.Config{
		Bridge: s.Parsed.CNI.Bridge, Address: netip.PrefixFrom(address, subnet.Bits()), Gateway: network.Gateway(subnet), MTU: underlay.MTU,
	}
	for i, p := range probes {
		c.Paths = append(c.Paths, probePath(p, i == 0))
	}
	for _, l := range s.Peers {
		if l.Node != s.Parsed.Name {
			c.Peers = append(c.Peers, l.Subnet)
		}
	}
	slices.SortFunc(c.Peers, netip.Prefix.Compare)
	return c, true
}
