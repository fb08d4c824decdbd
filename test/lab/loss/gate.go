package loss

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// openNodePort sets up requests from the client through the node to the pod, and the pod's answers.
func (p *probe) openNodePort(ctx context.Context, np *NodePort) error {
	if err := checkFiles(p.o.Rate); err != nil {
		return err
	}
	client, pod := p.o.From, p.o.To
	gate := Endpoint{Name: nodePortName(np.Node.Name, pod.Name), LearnSource: np.Node.LearnSource}
	masked := expectation{addr: np.Node.Source}
	long := p.newUDPStream(client, gate, "udp long-lived", masked)
	fresh := p.newUDPStream(client, gate, "udp new-port", masked)
	// The requests' source is the node's, who learns it too; that of the answers is the NodePort and known.
	long.in.learn, fresh.in.learn = np.Node.LearnSource, np.Node.LearnSource
	longReply := p.newUDPStream(gate, client, "udp long-lived", expectation{})
	freshReply := p.newUDPStream(gate, client, "udp new-port", expectation{})
	longReply.in.learn, freshReply.in.learn = false, false
	longReply.answers, freshReply.answers = long, fresh

	r, t, err := p.openReceiver(pod, long, fresh, longReply, freshReply)
	if err != nil {
		return err
	}
	err = inNetNS(pod.NetNS, func() error {
		r.sizer, err = newSizer(p.family, netip.AddrPortFrom(np.Node.Source, 9), p.o.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("size answers of %s: %w", pod.Name, err)
	}
	backends := append([]backend{{"udp", t.long}}, udpBackends(t.fresh)...)
	var accept *acceptor
	if p.o.TCP {
		var port uint16
		p.tcp = &tcpProbe{run: p.run, phase: &p.phase}
		if accept, port, err = p.openAcceptor(pod); err != nil {
			return err
		}
		backends = append(backends, backend{"tcp", netip.AddrPortFrom(pod.Addr, port)})
	}
	entries, err := p.forward(ctx, np, backends)
	if err != nil {
		return err
	}
	longReply.in.want = expectation{np.Node.Underlay, entries[0].Port(), entries[0].Port()}
	udpEnd := entries[len(t.fresh)]
	freshReply.in.want = expectation{np.Node.Underlay, entries[1].Port(), udpEnd.Port()}
	if p.o.TCP {
		p.openGateTCP(gate, accept, tcpRoute{client.NetNS, entries[len(entries)-1]}, masked)
	}
	return p.openClient(long, fresh, longReply, freshReply, entries[0], entries[1:1+len(t.fresh)])
}

// nodePortName is how lab loss names a NodePort.
func nodePortName(node, pod string) string { return "nodeport:" + node + ":" + pod }

// backend is a port of the pod that gets a NodePort.
type backend struct {
	proto string
	to    netip.AddrPort
}

func udpBackends(to []netip.AddrPort) []backend {
	var b []backend
	for _, t := range to {
		b = append(b, backend{"udp", t})
	}
	return b
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
func (p *probe) openClient(long, fresh, longReply, freshReply *stream, to netip.AddrPort, freshTo []netip.AddrPort) error {
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
		p.pool, err = newClientPool(p.run, newPortCycle(p.family, p.df(), freshTo), freshReply)
		if err != nil {
			return err
		}
		dst := sockaddr(to)
		s := p.addSender(client, z, &outlet{stream: long, tx: func(b []byte) error { return sendTo(fd, b, dst) }},
			&outlet{stream: fresh, tx: p.pool.send})
		s.idle = p.pool.poll
		p.receivers = append(p.receivers, &receiver{
			netns: client.NetNS, run: p.run, phase: &p.phase, inlets: []inlet{{fd: fd, stream: longReply}},
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("open client at %s: %w", client.Name, err)
	}
	return nil
}

func (p *probe) openGateTCP(gate Endpoint, at *acceptor, route tcpRoute, source expectation) {
	// newStream takes learning from where connections come from: here the node in between.
	client := p.o.From
	client.LearnSource = gate.LearnSource
	p.addLong(client, gate, route, at, source)
	p.addFresh(client, gate, route, at, source)
}
