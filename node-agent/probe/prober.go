package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/internal/handoff"
)

// Prober asks peers, and answers them. New makes one; all methods may be called concurrently.
type Prober struct {
	log     logr.Logger
	timeout time.Duration // how long a try waits for its answer
	tries   int
	calls   calls
	answers bucket
	closed  chan struct{}
	readers sync.WaitGroup

	view atomic.Pointer[view] // what is in force

	mu       sync.Mutex // guards what follows
	plug     *plug
	listener *net.UDPConn // in the namespace, reserved address
	host     *net.UDPConn // in the host's namespace, gateway address
	hostAt   netip.Addr
	ping     *net.IPConn // in the host's namespace; nil where the kernel refuses it
	flows    *flows      // of the host's namespace; nil where the kernel has none
	paths    map[string]path
	done     Config
	ok       bool // done is in force, every part of it
}

// path is a path with its sockets: in the prober's namespace, and one that stands in for it in the host's, nil where the
// kernel refuses it. The latter serves diagnoses.
type path struct {
	Path
	conn, standIn *net.UDPConn
}

func (p path) close() {
	_ = p.conn.Close()
	if p.standIn != nil {
		_ = p.standIn.Close()
	}
}

// view is what those who ask and answer see. It is never changed, only replaced.
type view struct {
	paths map[string]path
	host  *net.UDPConn // nil without
	ping  *net.IPConn  // nil without
	flows *flows       // nil without
	// answered are the addresses that are answered: the reserved ones and the gateways of peers.
	answered map[netip.Addr]bool
}

const (
	defaultTimeout = 150 * time.Millisecond
	defaultTries   = 3
)

// New returns a prober that reaches nobody until it is configured. It touches nothing.
func New(log logr.Logger) *Prober {
	p := &Prober{
		log: log, timeout: defaultTimeout, tries: defaultTries, closed: make(chan struct{}),
		paths: map[string]path{},
	}
	p.calls.open = map[nonce]call{}
	p.view.Store(&view{})
	return p
}

// Configure plugs the namespace into the bridge of the calling thread's network namespace, and sets paths and peers. It does
// nothing when nothing has changed and the device is still as it was made; it plugs in anew when the bridge, the addresses or
// the MTU changed or somebody took the device away. Without the namespace nothing else is tried; what failed is in the error,
// and tried again by the next call.
func (p *Prober) Configure(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	runtime.LockOSThread() // the namespace belongs to the thread
	defer runtime.UnlockOSThread()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return errors.New("configure prober: it is closed")
	}
	if err := p.plugIn(c); err != nil {
		return err
	}
	if p.ok && p.done.equal(c) {
		return nil
	}
	err := errors.Join(p.openPaths(c), p.openHost(c))
	p.done, p.ok = c.clone(), err == nil
	p.publish()
	return err
}

func (p *Prober) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// plugIn makes sure that the namespace is on the bridge, and the listener in it.
func (p *Prober) plugIn(c Config) error {
	if p.plug != nil {
		fits, err := p.plug.fits(c)
		if fits || err != nil {
			return err
		}
		p.log.Info("Plugging the prober in anew", "device", Device)
		if err := p.unplug(); err != nil {
			p.log.Error(err, "Leaving the prober's old namespace behind", "device", Device)
		}
	}
	made, err := newPlug(c)
	if err != nil {
		return err
	}
	err = inside(made.ns, func() (err error) {
		p.listener, err = openUDP(netip.AddrPortFrom(c.Address.Addr(), ListenPort), false)
		return err
	})
	if err != nil {
		return errors.Join(err, made.unplug())
	}
	p.plug = made
	p.serve(p.listener, p.fromPods)
	// A packet to the gateway, which nobody answers, makes both know each other, and the bridge the port.
	_, _ = p.listener.WriteToUDPAddrPort(make([]byte, headerSize), netip.AddrPortFrom(c.Gateway, ListenPort))
	return nil
}

// unplug closes what is in the namespace, and lets go of it.
func (p *Prober) unplug() error {
	if p.plug == nil {
		return nil
	}
	p.ok = false
	for _, have := range p.paths {
		have.close()
	}
	p.paths = map[string]path{}
	p.publish()
	err := errors.Join(p.listener.Close(), p.plug.unplug())
	p.plug, p.listener = nil, nil
	return err
}

// openPaths closes the sockets of paths that are gone, and opens those of new ones.
func (p *Prober) openPaths(c Config) error {
	paths := map[string]path{}
	for _, want := range c.Paths {
		if have, ok := p.paths[want.Name]; ok && have.Port == want.Port {
			paths[want.Name] = path{want, have.conn, have.standIn}
		}
	}
	for name, have := range p.paths {
		if _, kept := paths[name]; !kept {
			have.close()
		}
	}
	p.paths = paths
	var errs []error
	for _, want := range c.Paths {
		if _, ok := paths[want.Name]; ok {
			continue
		}
		made, err := p.openPath(want, netip.AddrPortFrom(c.Address.Addr(), want.Port))
		if err != nil {
			errs = append(errs, fmt.Errorf("path %q: %w", want.Name, err))
			continue
		}
		paths[want.Name] = made
	}
	return errors.Join(errs...)
}

func (p *Prober) openPath(want Path, at netip.AddrPort) (path, error) {
	made := path{Path: want}
	err := inside(p.plug.ns, func() (err error) {
		made.conn, err = openUDP(at, false)
		return err
	})
	if err != nil {
		return path{}, err
	}
	if made.standIn, err = openUDP(at, true); err != nil {
		p.log.Info("Going without a stand-in of the prober: filters of both nodes are not told from a blocked path", "reason", err.Error())
	}
	return made, nil
}

// openHost listens on the bridge's own address.
func (p *Prober) openHost(c Config) error {
	if p.host != nil && p.hostAt == c.Gateway {
		return nil
	}
	p.closeHost()
	conn, err := openUDP(netip.AddrPortFrom(c.Gateway, ListenPort), false)
	if err != nil {
		return err
	}
	p.host, p.hostAt = conn, c.Gateway
	p.serve(conn, p.fromHosts)
	if p.flows, err = openFlows(); err != nil {
		p.log.Info("Going without connection tracking: probes may belong to old flows", "reason", err.Error())
	}
	if p.ping, err = openPing(c.Gateway); err != nil {
		p.log.Info("Going without pings: peers that answer for themselves only are not told apart", "reason", err.Error())
		return nil
	}
	p.serveEchoes(p.ping)
	return nil
}

func (p *Prober) closeHost() {
	if p.host != nil {
		_ = p.host.Close()
	}
	if p.ping != nil {
		_ = p.ping.Close()
	}
	p.flows.close()
	p.host, p.ping, p.flows, p.hostAt = nil, nil, nil, netip.Addr{}
}

// publish shows those who ask and answer what is in force.
func (p *Prober) publish() {
	v := &view{paths: map[string]path{}, host: p.host, ping: p.ping, flows: p.flows, answered: map[netip.Addr]bool{}}
	for name, have := range p.paths {
		v.paths[name] = have
	}
	for _, subnet := range p.done.Peers {
		v.answered[handoff.GatewayAddress(subnet)] = true
		if a, ok := handoff.ReservedAddress(subnet); ok {
			v.answered[a] = true
		}
	}
	p.view.Store(v)
}

// Close takes the namespace off the bridge and ends everything the prober started. Questions that are under way end without
// an answer. Closing twice does nothing.
func (p *Prober) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return nil
	}
	close(p.closed)
	err := p.unplug()
	p.closeHost()
	p.publish()
	p.readers.Wait()
	return err
}

func (c Config) check() error {
	switch {
	case c.Bridge == "":
		return errors.New("configure prober: no bridge")
	case !c.Address.IsValid() || !c.Gateway.IsValid() || c.Address.Addr().Is4() != c.Gateway.Is4():
		return fmt.Errorf("configure prober: address %s and gateway %s do not fit", c.Address, c.Gateway)
	case c.MTU < overhead(c.Gateway)+smallSize:
		return fmt.Errorf("configure prober: MTU %d is too small for any probe", c.MTU)
	}
	for _, path := range c.Paths {
		if len(path.Name) > maxName {
			return fmt.Errorf("configure prober: name of path %q is longer than %d bytes", path.Name, maxName)
		}
	}
	return nil
}

func (c Config) equal(o Config) bool {
	return c.Bridge == o.Bridge && c.Address == o.Address && c.Gateway == o.Gateway && c.MTU == o.MTU &&
		slices.Equal(c.Paths, o.Paths) && slices.Equal(c.Peers, o.Peers)
}

func (c Config) clone() Config {
	c.Paths, c.Peers = slices.Clone(c.Paths), slices.Clone(c.Peers)
	return c
}
