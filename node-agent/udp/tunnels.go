package udp

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// lingerTime is how long what is no longer wanted goes on: packets of peers that have not heard of the change are on their way, and
// others wait in the device's queue on a busy machine. It is longer than the dataplane leaves the device there.
const lingerTime = 6 * time.Second

// Tunnels are the udp tunnels of a node. All methods may be called concurrently.
type Tunnels struct {
	log     logr.Logger
	workers int

	mu     sync.Mutex // guards all below
	closed bool
	active map[key]*tunnel
	// leaving are tunnels that are no longer wanted, until they end.
	leaving map[key]*leaving
	// old are things other than tunnels that wait for their end.
	old map[*leaving]bool
	// ending counts ends that a timer has begun.
	ending sync.WaitGroup
}

// key names a tunnel: with another device or port it is another one.
type key struct {
	device string
	port   uint16
}

func keyOf(t desired.UDPTunnel) key { return key{t.Device, t.Port} }

// leaving is something that ends soon.
type leaving struct {
	tunnel *tunnel
	timer  *time.Timer
	end    func()
}

// New returns Tunnels without any. Nothing runs until Set.
func New(log logr.Logger) *Tunnels {
	return &Tunnels{
		// As many workers as threads may run Go code at once: the cores, or what the container may use of them.
		log: log, workers: runtime.GOMAXPROCS(0),
		active: map[key]*tunnel{}, leaving: map[key]*leaving{}, old: map[*leaving]bool{},
	}
}

// Set makes exactly these tunnels work. It attaches to the devices, which must exist as the dataplane makes them, opens sockets
// in the caller's network namespace, and replaces tables of peers without disturbing packets. A device that was deleted and made
// again is attached again. A tunnel that is no longer in the list goes on for lingerTime, so does an address that was replaced.
// Calling it again with the same list changes nothing and costs two system calls per tunnel.
//
// The error joins those of all tunnels; each goes on as far as it can, and calling Set again is all that is needed to try again.
func (t *Tunnels) Set(tunnels []desired.UDPTunnel) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("set udp tunnels: closed")
	}
	wanted := map[key]bool{}
	var errs []error
	for _, want := range tunnels {
		k := keyOf(want)
		wanted[k] = true
		if err := t.tunnel(k, want).set(want, t.linger); err != nil {
			errs = append(errs, fmt.Errorf("udp tunnel %s: %w", want.Device, err))
		}
	}
	for k, one := range t.active {
		if !wanted[k] {
			delete(t.active, k)
			t.leave(k, one)
		}
	}
	return errors.Join(errs...)
}

// tunnel returns the one that is there, also if it is about to end, or a new one.
func (t *Tunnels) tunnel(k key, want desired.UDPTunnel) *tunnel {
	if one := t.active[k]; one != nil {
		return one
	}
	if l := t.leaving[k]; l != nil {
		l.timer.Stop()
		delete(t.leaving, k)
		t.active[k] = l.tunnel
		return l.tunnel
	}
	t.active[k] = newTunnel(t.log, want, t.workers)
	return t.active[k]
}

// leave has a tunnel end in a while. The caller holds mu.
func (t *Tunnels) leave(k key, one *tunnel) {
	l := &leaving{tunnel: one, end: one.stop}
	t.leaving[k] = l
	t.later(l, func() bool {
		mine := t.leaving[k] == l
		if mine {
			delete(t.leaving, k)
		}
		return mine
	})
}

// linger has end called in a while, or when all is closed. The caller holds mu.
func (t *Tunnels) linger(end func()) {
	l := &leaving{end: end}
	t.old[l] = true
	t.later(l, func() bool {
		mine := t.old[l]
		delete(t.old, l)
		return mine
	})
}

// later ends l in a while, unless it cannot be taken from where it waits any more.
func (t *Tunnels) later(l *leaving, take func() bool) {
	l.timer = time.AfterFunc(lingerTime, func() {
		t.mu.Lock()
		mine := take()
		if mine {
			t.ending.Add(1)
		}
		t.mu.Unlock()
		if mine {
			l.end()
			t.ending.Done()
		}
	})
}

// Stats returns the counts of every tunnel that Set asked for, sorted by device.
func (t *Tunnels) Stats() []Stat {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Stat
	for _, one := range t.active {
		out = append(out, one.stat())
	}
	slices.SortFunc(out, func(a, b Stat) int { return strings.Compare(a.Device, b.Device) })
	return out
}

// Close ends all tunnels at once and waits for their workers. Devices, with their addresses and routes, stay. Calling it again
// does nothing; the error is always nil.
func (t *Tunnels) Close() error {
	t.mu.Lock()
	t.closed = true
	// Old sockets first: their tunnels wait for the workers that read from them.
	var ends []func()
	for _, l := range slices.Concat(slices.Collect(maps.Keys(t.old)), slices.Collect(maps.Values(t.leaving))) {
		l.timer.Stop()
		ends = append(ends, l.end)
	}
	for _, one := range t.active {
		ends = append(ends, one.stop)
	}
	clear(t.leaving)
	clear(t.old)
	clear(t.active)
	t.mu.Unlock()
	for _, end := range ends {
		end()
	}
	t.ending.Wait()
	return nil
}
