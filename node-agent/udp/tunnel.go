package udp

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// tunnel is a device, the sockets of its port, and the workers between them: one per queue that sends, one per socket that
// receives. Its methods are called by one goroutine at a time; workers read what the atomic fields hold, which is all set
// before the first of them starts.
type tunnel struct {
	log     logr.Logger
	device  string
	port    uint16
	workers int

	table   atomic.Pointer[table]
	queues  atomic.Pointer[[]*queue]
	sockets atomic.Pointer[sockets]
	running sync.WaitGroup

	// made and refused are what the table was made of and what of it was left out.
	made    desired.UDPTunnel
	refused error

	// in and out are the workers' counters, by worker.
	in, out []counters
}

func newTunnel(log logr.Logger, want desired.UDPTunnel, workers int) *tunnel {
	return &tunnel{
		log: log.WithValues("device", want.Device), device: want.Device, port: want.Port, workers: workers,
		in: make([]counters, workers), out: make([]counters, workers),
	}
}

// set makes the tunnel what is wanted. On error it goes on with what it can: the table is always the one wanted, the device and
// the sockets are those it had, if any. What is no longer needed is given to linger.
func (t *tunnel) set(want desired.UDPTunnel, linger func(func())) error {
	t.setTable(want)
	oldQueues, oldSockets := t.queues.Load(), t.sockets.Load()
	s, socketsErr := t.wantedSockets(oldSockets, netip.AddrPortFrom(want.Local.Unmap(), want.Port))
	q, queuesErr := t.wantedQueues(oldQueues)
	err := errors.Join(t.refused, socketsErr, queuesErr)
	if s == nil || q == nil {
		if s != nil && s != oldSockets {
			s.close()
		}
		if q != nil && q != oldQueues {
			closeQueues(*q)
		}
		return err
	}
	t.queues.Store(q)
	t.sockets.Store(s)
	if s != oldSockets {
		t.startReceiving(s)
		if oldSockets != nil {
			linger(oldSockets.close) // peers still send to the old address
		}
	}
	if q != oldQueues {
		t.startSending(*q)
		untilRunning(t.device)
		if oldQueues != nil {
			closeQueues(*oldQueues)
		}
	}
	return err
}

func (t *tunnel) setTable(want desired.UDPTunnel) {
	if t.table.Load() != nil && sameTable(t.made, want) {
		return
	}
	want.Peers, want.Hosts = slices.Clone(want.Peers), slices.Clone(want.Hosts)
	want.Subnets, want.Networks = slices.Clone(want.Subnets), slices.Clone(want.Networks)
	table, refused := newTable(want)
	t.table.Store(table)
	t.made, t.refused = want, refused
}

// sameTable says whether two tunnels' tables would be equal.
func sameTable(a, b desired.UDPTunnel) bool {
	return a.Local == b.Local && slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Subnets, b.Subnets) &&
		slices.Equal(a.Networks, b.Networks) && slices.Equal(a.Hosts, b.Hosts)
}

// wantedSockets returns the sockets there are when they are the right ones, or new ones; on error, those there are.
func (t *tunnel) wantedSockets(have *sockets, local netip.AddrPort) (*sockets, error) {
	if have != nil && have.local == local {
		return have, nil
	}
	s, err := openSockets(local, t.workers)
	if err != nil {
		return have, err
	}
	return s, nil
}

// wantedQueues returns the queues there are when they still are on the device, or new ones; on error, those there are.
func (t *tunnel) wantedQueues(have *[]*queue) (*[]*queue, error) {
	if have != nil && (*have)[0].attached(t.device) {
		return have, nil
	}
	q, err := openQueues(t.device, t.workers)
	if err != nil {
		return have, err
	}
	t.log.Info("Attached to the device", "added", t.workers)
	return &q, nil
}

func (t *tunnel) startReceiving(s *sockets) {
	for i, one := range s.receive {
		in := newInbound(t, i, one)
		t.running.Go(in.run)
	}
}

func (t *tunnel) startSending(queues []*queue) {
	for i, q := range queues {
		out := newOutbound(t, i, q)
		t.running.Go(out.run)
	}
}

// stop ends the workers and waits for them.
func (t *tunnel) stop() {
	if q := t.queues.Load(); q != nil {
		closeQueues(*q)
	}
	if s := t.sockets.Load(); s != nil {
		s.close()
	}
	t.running.Wait()
}

func (t *tunnel) stat() Stat {
	s := Stat{Device: t.device, Port: t.port}
	for i := range t.workers {
		t.in[i].addTo(&s.In, &s.Dropped)
		t.out[i].addTo(&s.Out, &s.Dropped)
	}
	return s
}
