package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/test/lab"
)

// inNetNS runs f in a node's network.
func (l *benchmarkLab) inNetNS(node string, f func() error) error {
	path, err := l.NetNS(node)
	if err != nil {
		return err
	}
	return lab.WithNetNS(path, f)
}

// routeWatch hears of a node's routes from the kernel, so that waiting for one costs the machine nothing.
type routeWatch struct {
	updates chan netlink.RouteUpdate
	done    chan struct{}
	failed  chan error
}

func (l *benchmarkLab) watchRoutes(node string) (*routeWatch, error) {
	path, err := l.NetNS(node)
	if err != nil {
		return nil, err
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	w := &routeWatch{updates: make(chan netlink.RouteUpdate, 20000), done: make(chan struct{}), failed: make(chan error, 1)}
	err = netlink.RouteSubscribeWithOptions(w.updates, w.done, netlink.RouteSubscribeOptions{
		Namespace: &ns, ReceiveBufferSize: 64 * mebibyte, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case w.failed <- err:
			default:
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch the routes of %s: %w", node, err)
	}
	return w, nil
}

func (w *routeWatch) close() { close(w.done) }

// until waits until every one of the peers has been given a route.
func (w *routeWatch) until(ctx context.Context, peers []network.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	want := missing(peers)
	for len(want) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d peers have no route: %w", len(want), len(peers), context.Cause(ctx))
		case err := <-w.failed:
			return fmt.Errorf("watch routes: %w", err)
		case u := <-w.updates:
			if u.Type != unix.RTM_NEWROUTE || int(u.Protocol) != dataplane.RouteProtocol || u.Dst == nil {
				continue
			}
			addr, _ := netip.AddrFromSlice(u.Dst.IP)
			bits, _ := u.Dst.Mask.Size()
			delete(want, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	return nil
}
