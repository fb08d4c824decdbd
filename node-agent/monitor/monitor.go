package monitor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// Event says that a pass is due.
type Event struct {
	// Full asks for a pass that reads back everything: a device, the packet filter or a subscription changed.
	Full bool
}

// Interest is what the filter lets through.
type Interest struct {
	// Devices are hopsack's own devices by name.
	Devices map[string]struct{}
	// Bridge is the one of them that pods are plugged into.
	Bridge string
	// Underlay is the underlay interface; "" lets every link and address event through, for the one that may come.
	Underlay string
	// PodNetworks are the ranges in which other programs' routes matter.
	PodNetworks []netip.Prefix
	// Protocol is the protocol number of hopsack's routes.
	Protocol int
	// Table is the name of hopsack's nftables table.
	Table string
}

// tunnel says whether a device is one of hopsack's tunnels.
func (i Interest) tunnel(name string) bool {
	_, own := i.Devices[name]
	return own && name != i.Bridge
}

// Options are what a Monitor needs.
type Options struct {
	Log logr.Logger
	// Files are watched by name.
	Files []string
	// Directories are watched as a whole.
	Directories []string
}

// Monitor watches the kernel and files.
type Monitor struct {
	opts    Options
	events  chan Event
	watcher *fsnotify.Watcher

	mu       sync.Mutex
	interest Interest
	links    map[int32]linkState
}

// resubscribeAfter is the pause before a broken subscription is made again.
const resubscribeAfter = time.Second

// New returns a Monitor that watches nothing yet; Run does. Before the first SetInterest everything passes the filter.
func New(o Options) (*Monitor, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("start inotify: %w", err)
	}
	return &Monitor{opts: o, events: make(chan Event, 1), watcher: watcher, links: map[int32]linkState{}}, nil
}

// Events delivers at most one event for whatever happened since the last was received.
func (m *Monitor) Events() <-chan Event { return m.events }

// SetInterest replaces the filter. It may be called at any time.
func (m *Monitor) SetInterest(i Interest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interest = i
	if m.knowsLinks() {
		return
	}
	links, err := netlink.LinkList()
	if err != nil {
		return // events will tell; until then the slow resync is the backstop
	}
	for _, l := range links {
		if attrs := l.Attrs(); m.ours(attrs.Name) {
			state := linkState{
				name: attrs.Name, up: attrs.Flags&net.FlagUp != 0, mtu: uint32(attrs.MTU), master: uint32(attrs.MasterIndex),
			}
			copy(state.mac[:], attrs.HardwareAddr)
			m.links[int32(attrs.Index)] = state
		}
	}
}

// knowsLinks says whether the index of every device of interest is known. The caller holds the lock.
func (m *Monitor) knowsLinks() bool {
	names := map[string]bool{}
	for _, l := range m.links {
		names[l.name] = true
	}
	for name := range m.interest.Devices {
		if !names[name] {
			return false
		}
	}
	return names[m.interest.Underlay]
}

// kick delivers an event without blocking. One that waits already is made full when this one is.
func (m *Monitor) kick(full bool) {
	for {
		select {
		case m.events <- Event{Full: full}:
			return
		default:
		}
		select {
		case waiting := <-m.events:
			full = full || waiting.Full
		default:
		}
	}
}

// Run watches until ctx ends. A subscription that breaks is made again, and a full pass asked for: what happened in between
// is unknown.
func (m *Monitor) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for name, subscribe := range map[string]func(context.Context) error{
		"rtnetlink": m.watchRoutes, "nfnetlink": m.watchTables,
	} {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := subscribe(ctx); err != nil && ctx.Err() == nil {
					m.opts.Log.Error(err, "Watching the kernel", "reason", name)
					select {
					case <-ctx.Done():
					case <-time.After(resubscribeAfter):
					}
				}
				m.kick(true)
			}
			return nil
		})
	}
	group.Go(func() error { m.watchFiles(ctx); return nil })
	return group.Wait()
}
