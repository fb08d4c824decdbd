package monitor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Options are what a Monitor needs.
type Options struct {
	// Log is where trouble with the subscription is said.
	Log logr.Logger
	// Paths are the files to watch. One that ends in a slash is a directory: any name in it counts, except those that begin
	// with a dot.
	Paths []string
}

// Interest is what a Monitor compares events with.
type Interest struct {
	// State is what the next pass will make. The Monitor keeps it; it must not change any more.
	State desired.State
	// Underlay is the name of the interface that carries packets between nodes, "" while there is none.
	Underlay string
	// OwnPort is the netlink port by which hopsack writes to nftables (see Dataplane.Port): what comes from it is no news. 0
	// means that it is not known, and costs a pass after each such write.
	OwnPort uint32
}

// Event says that something changed since the last Event was received.
type Event struct {
	// Full asks for a pass that trusts nothing.
	Full bool
	// Causes says what kinds of things changed.
	Causes Cause
}

// Cause is a set of kinds of changes.
type Cause uint

// Kinds of changes.
const (
	CauseLink Cause = 1 << iota
	CauseAddress
	CauseRoute
	CauseNeigh
	CauseSysctl
	CauseFirewall
	CauseFile
	CauseLost
	CauseRule // an ip rule, or a route of another table than main
)

var causeNames = []string{"link", "address", "route", "neigh", "sysctl", "firewall", "file", "lost events", "rule"}

// fullCauses are those after which the kernel may have changed without a word, or where only a full pass looks.
const fullCauses = CauseLink | CauseAddress | CauseLost | CauseRule

// String prints like "link,route".
func (c Cause) String() string {
	var names []string
	for i, name := range causeNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// reopenAfter is the pause before a socket that failed is opened again.
const reopenAfter = time.Second

// Monitor watches one network namespace: that of the thread that calls Run.
type Monitor struct {
	opts     Options
	events   chan Event
	interest atomic.Pointer[Interest]
	wakeFD   int
	control  int // any socket of the namespace, for looking up devices

	rtnl, nfnl *subscription
	files      *fileWatch
	filter     filter
}

// New subscribes in the caller's network namespace: what changes after it returns is not missed.
func New(o Options) (*Monitor, error) {
	m := &Monitor{opts: o, events: make(chan Event, 1)}
	m.interest.Store(&Interest{})
	var err error
	if m.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	if m.control, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open control socket: %w", err), m.close())
	}
	m.rtnl, m.nfnl = newRTNetlink(), newNFNetlink()
	if err := m.rtnl.open(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if err := m.nfnl.open(); err != nil {
		o.Log.Error(err, "Watching nftables") // tried again by Run; the slow resync covers it until then
	}
	if m.files, err = newFileWatch(o.Paths); err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.filter = newFilter(m.indexOf)
	return m, nil
}

// Events delivers at most one Event at a time; those that come before it is received are merged into it.
func (m *Monitor) Events() <-chan Event { return m.events }

// SetInterest says what is wanted from now on. Call it before the pass that makes it. It may be called from any goroutine.
func (m *Monitor) SetInterest(i Interest) {
	m.interest.Store(&i)
	m.wake()
}

// wake ends the wait in Run.
func (m *Monitor) wake() {
	_, _ = unix.Write(m.wakeFD, binary.NativeEndian.AppendUint64(nil, 1)) // EAGAIN: it is awake already
}

// Run watches until ctx ends, and then closes the subscription; it may be called once. It returns nil when ctx ended.
func (m *Monitor) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, m.wake)
	defer func() {
		stop()
		_ = m.close()
	}()
	for ctx.Err() == nil {
		timeout := -1
		if m.reopen() || m.files.rewatch() {
			timeout = int(reopenAfter.Milliseconds())
		}
		ready, err := m.wait(timeout)
		if err != nil {
			return err
		}
		if current := m.interest.Load(); m.filter.interest != current {
			m.filter.setInterest(current)
		}
		m.handle(ready)
	}
	return nil
}

// handle reads what is ready and tells what matters of it.
func (m *Monitor) handle(ready map[int]bool) {
	var causes Cause
	if ready[m.wakeFD] {
		var b [8]byte
		_, _ = unix.Read(m.wakeFD, b[:])
	}
	for _, s := range []*subscription{m.rtnl, m.nfnl} {
		if !s.isOpen() || !ready[s.fd] {
			continue
		}
		lost, err := s.drain(func(typ uint16, port uint32, body []byte) { causes |= m.filter.see(s.protocol, typ, port, body) })
		if err != nil {
			m.opts.Log.Error(err, "Watching the kernel", "reason", s.name)
			s.close()
		}
		if lost || err != nil {
			causes |= CauseLost
			m.filter.forget()
		}
	}
	if ready[m.files.fd] && m.files.drain() {
		causes |= CauseFile
	}
	m.tell(causes)
}

// reopen opens sockets that failed, and says whether one is still closed.
func (m *Monitor) reopen() (closed bool) {
	for _, s := range []*subscription{m.rtnl, m.nfnl} {
		if s.isOpen() {
			continue
		}
		if err := s.open(); err != nil {
			closed = true
			continue
		}
		m.tell(CauseLost) // nobody listened meanwhile
	}
	return closed
}

// tell merges causes into the event that waits to be received.
func (m *Monitor) tell(causes Cause) {
	if causes == 0 {
		return
	}
	e := Event{Full: causes&fullCauses != 0, Causes: causes}
	select {
	case waiting := <-m.events:
		e.Full = e.Full || waiting.Full
		e.Causes |= waiting.Causes
	default:
	}
	m.events <- e // there is room: nobody else sends
	m.opts.Log.V(1).Info("Saw a change", "reason", causes.String())
}

// wait blocks until one of the descriptors can be read, or timeout milliseconds have passed.
func (m *Monitor) wait(timeout int) (map[int]bool, error) {
	var fds []unix.PollFd
	for _, fd := range []int{m.wakeFD, m.rtnl.fd, m.nfnl.fd, m.files.fd} {
		if fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	ready := map[int]bool{}
	for _, fd := range fds {
		ready[int(fd.Fd)] = fd.Revents != 0
	}
	return ready, nil
}

// indexOf looks up a device, 0 when there is none.
func (m *Monitor) indexOf(name string) int {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	if err := unix.IoctlIfreq(m.control, unix.SIOCGIFINDEX, req); err != nil {
		return 0
	}
	return int(req.Uint32())
}

func (m *Monitor) close() error {
	var errs []error
	for _, s := range []*subscription{m.rtnl, m.nfnl} {
		if s != nil {
			s.close()
		}
	}
	if m.files != nil {
		errs = append(errs, unix.Close(m.files.fd))
	}
	for _, fd := range []int{m.control, m.wakeFD} {
		if fd > 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
