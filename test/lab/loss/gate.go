package loss

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// gateStreams are requests of the client and answers of the pod.
type gateStreams struct {
	long, fresh, longReply, freshReply *stream
}

// openNodePort sets up requests from the client through the node to the pod, and the pod's answers.
func (p *probe) openNodePort(ctx context.Context, np *NodePort) error {
	if err := checkFiles(p.o.Rate); err != nil {
		return err
	}
	s := p.gateStreams(np)
	t, err := p.openBackend(np, s)
	if err != nil {
		return err
	}
	backends := []backend{{"udp", t.long}}
	for _, to := range t.fresh {
		backends = append(backends, backend{"udp", to})
	}
	var accept *acceptor
	if p.o.TCP {
		var port uint16
		p.tcp = &tcpProbe{run: p.run, phase: &p.phase}
		if accept, port, err = p.openAcceptor(p.o.To); err != nil {
			return err
		}
		backends = append(backends, backend{"tcp", netip.AddrPortFrom(p.o.To.Addr, port)})
	}
	entries, err := p.forward(ctx, np, backends)
	if err != nil {
		return err
	}
	long, fresh := entries[0], entries[1:1+len(t.fresh)]
	s.longReply.in.want = expectation{addr: long.Addr(), low: long.Port(), high: long.Port()}
	s.freshReply.in.want = expectation{addr: long.Addr(), low: fresh[0].Port(), high: fresh[len(fresh)-1].Port()}
	if p.o.TCP {
		client, gate := p.o.From.Name, nodePortName(np.Node.Name, p.o.To.Name)
		route := tcpRoute{p.o.From.NetNS, entries[len(entries)-1]}
		p.addLong(client, gate, route, accept, seenAs(np.Node))
		p.addFresh(client, gate, route, accept, seenAs(np.Node))
	}
	return p.openClient(s, long, fresh)
}

// gateStreams makes the UDP streams. The pod must see requests come from the node; where answers must come from is
// known when the NodePorts are.
func (p *probe) gateStreams(np *NodePort) gateStreams {
	client, gate := p.o.From.Name, nodePortName(np.Node.Name, p.o.To.Name)
	s := gateStreams{
		long:       p.newUDPStream(client, gate, "udp long-lived", seenAs(np.Node)),
		fresh:      p.newUDPStream(client, gate, "udp new-port", seenAs(np.Node)),
		longReply:  p.newUDPStream(gate, client, "udp long-lived", expectation{}),
		freshReply: p.newUDPStream(gate, client, "udp new-port", expectation{}),
	}
	s.longReply.answers, s.freshReply.answers = s.long, s.fresh
	return s
}

// openBackend opens the pod's sockets, which answer.
func (p *probe) openBackend(np *NodePort, s gateStreams) (targets, error) {
	pod := p.o.To
	r, t, err := p.openReceiver(pod, s.long, s.fresh, s.longReply, s.freshReply)
	if err != nil {
		return targets{}, err
	}
	err = inNetNS(pod.NetNS, func() error {
		// Any port will do: it is the route back to the node that is asked.
		r.sizer, err = newSizer(p.family, netip.AddrPortFrom(np.Node.Source, 9), p.o.Size)
		return err
	})
	if err != nil {
		return targets{}, fmt.Errorf("size answers of %s: %w", pod.Name, err)
	}
	return t, nil
}

// nodePortName is how lab loss names a NodePort.
func nodePortName(node, pod string) string { return "nodeport:" + node + ":" + pod }

// backend is a port of the pod that gets a NodePort.
type backend struct {
	proto string
	to    netip.AddrPort
}

// forward gives every backend a NodePort and returns them in order.
func (p *probe) forward(ctx context.Context, np *NodePort, backends []backend) ([]netip.AddrPort, error) {
	for {
		base := nodePortBase()
		var forwards []forward
		var entries []netip.AddrPort
		for i, b := range backends {
			port := base + uint16(i)
			forwards = append(forwards, forward{b.proto, port, b.to})
			entries = append(entries, netip.AddrPortFrom(np.Node.Underlay, port))
		}
		table := fmt.Sprintf("%s%d", nodePortTable, base)
		installed, err := installNodePorts(ctx, np, table, forwards)
		if errors.Is(err, errTaken) && ctx.Err() == nil {
			continue // another measurement's; there are enough blocks
		}
		if err != nil {
			return nil, err
		}
		p.nodePorts = installed
		return entries, nil
	}
}

// openClient opens the client's sockets: one that sends and receives for the long-lived stream, and the pool.
func (p *probe) openClient(s gateStreams, to netip.AddrPort, freshTo []netip.AddrPort) error {
	client := p.o.From
	err := inNetNS(client.NetNS, func() error {
		// Not connected: a connected socket does not receive from a wrong source, and that is to be seen.
		fd, _, err := openReceiver(p.family, p.df(), socketBuffer)
		if err != nil {
			return err
		}
		p.files = append(p.files, fd)
		z, err := newSizer(p.family, to, p.o.Size)
		if err != nil {
			return err
		}
		p.pool, err = newClientPool(p.run, newPortCycle(p.family, p.df(), freshTo), s.freshReply)
		if err != nil {
			return err
		}
		dst := sockaddr(to)
		from := p.addSender(client, z, &outlet{stream: s.long, tx: func(b []byte) error { return sendTo(fd, b, dst) }},
			&outlet{stream: s.fresh, tx: p.pool.send})
		from.idle = p.pool.poll
		p.receivers = append(p.receivers, &receiver{
			netns: client.NetNS, run: p.run, phase: &p.phase, inlets: []inlet{{fd: fd, stream: s.longReply}},
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("open client at %s: %w", client.Name, err)
	}
	return nil
}
