package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// world is two nodes on a cable, with a pod each.
type world struct {
	name  string
	nodes [2]*cniNode
	pods  [2]*pod
	// tunnelled says that packets between the pods must go through the tunnel device.
	tunnelled bool
	figures
}

// newWorlds makes the plain one, hopsack with VXLAN and hopsack with direct routing, in this order.
func newWorlds(ctx context.Context) ([]*world, error) {
	direct := defaultBackend()
	direct.DirectRouting = v1alpha1.DirectRoutingOnLink
	worlds := []*world{{name: "plain"}, {name: "vxlan", tunnelled: true}, {name: "direct"}}
	for i, backend := range []network.Backend{{}, defaultBackend(), direct} {
		w := worlds[i]
		if err := w.build(ctx, backend); err != nil {
			return worlds[:i+1], fmt.Errorf("build the world %s: %w", w.name, err)
		}
	}
	return worlds, nil
}

func (w *world) remove() {
	for i := range w.nodes {
		if w.pods[i] != nil {
			w.pods[i].close()
		}
		if w.nodes[i] != nil {
			w.nodes[i].remove()
		}
	}
}

// build makes the nodes, programs them and plugs the pods in. The zero backend is the plain world.
func (w *world) build(ctx context.Context, backend network.Backend) error {
	for i := range w.nodes {
		var err error
		if w.nodes[i], err = newCNINode(i+1, backend); err != nil {
			return err
		}
	}
	address := func(i int) string { return fmt.Sprintf("%s/%d", nodeAddr(i), underlayBits) }
	if err := cable(w.nodes[0].netNS, underlayDevice, address(1), w.nodes[1].netNS, underlayDevice, address(2)); err != nil {
		return err
	}
	for i, n := range w.nodes {
		way := &cniWay{name: w.name, cniNode: n}
		var err error
		if backend.Type == "" {
			way.list, err = n.plain(2 - i)
		} else if err = n.program(ctx, leases(1, 2)); err == nil {
			way.list, err = n.agentConflist("hopsack")
		}
		if err != nil {
			return err
		}
		if w.pods[i], err = newPod(fmt.Sprintf("%s-%d", w.name, i)); err != nil {
			return err
		}
		if err := way.add(ctx, w.pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// counted is a traffic test; it returns how many bytes of payload arrived.
type counted func() (payload uint64, err error)

// onPath runs a test and proves that its packets took the path they were to take: the underlay device always, the tunnel
// device only where there is to be one.
func (w *world) onPath(test counted) error {
	devices := []string{underlayDevice, desired.TunnelName(network.DefaultVNI, network.DefaultVXLANPort)}
	before, err := w.sent(devices)
	if err != nil {
		return err
	}
	payload, err := test()
	if err != nil {
		return err
	}
	after, err := w.sent(devices)
	if err != nil {
		return err
	}
	underlay, tunnel := after[0]-before[0], after[1]-before[1]
	switch {
	case payload == 0:
		return errors.New("nothing arrived")
	case underlay < payload:
		return fmt.Errorf("%d bytes arrived and only %d passed the underlay", payload, underlay)
	case w.tunnelled && tunnel < payload:
		return fmt.Errorf("%d bytes arrived and only %d went through the tunnel", payload, tunnel)
	case !w.tunnelled && tunnel > payload/100:
		return fmt.Errorf("%d bytes went through the tunnel, though routes are direct", tunnel)
	}
	return nil
}

// sent is how many bytes the first node has sent out by each device; a device that is not there has sent nothing.
func (w *world) sent(devices []string) ([]uint64, error) {
	out := make([]uint64, len(devices))
	err := w.nodes[0].do(func() error {
		for i, name := range devices {
			link, err := netlink.LinkByName(name)
			if errors.As(err, &netlink.LinkNotFoundError{}) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read device %s: %w", name, err)
			}
			out[i] = link.Attrs().Statistics.TxBytes
		}
		return nil
	})
	return out, err
}

// measure is one round.
func (w *world) measure() error {
	from, to := w.pods[0], w.pods[1]
	return errors.Join(
		w.onPath(func() (uint64, error) {
			bytes, took, err := tcpStream(from, to, streamTime)
			w.tcp = append(w.tcp, float64(bytes)*8/1e6/took.Seconds())
			return bytes, err
		}),
		w.onPath(func() (uint64, error) {
			f, err := udpFlood(from, to, streamTime)
			w.udp = append(w.udp, float64(f.received)/f.took.Seconds())
			w.arrived = append(w.arrived, float64(f.received)/float64(max(1, f.sent)))
			return f.received * floodSize, err
		}),
		w.onPath(func() (uint64, error) {
			trips, err := roundTrips(from, to, exchanges)
			w.rtt = append(w.rtt, float64(trips.p50())/float64(time.Microsecond))
			return uint64(len(trips)) * floodSize, err
		}),
	)
}
