package dataplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/nft"
)

// Options are what a Dataplane needs.
type Options struct {
	// StateDir is the directory for what must outlive the process; required.
	StateDir string
	// OwnedFiles are the files that are removed when a State does not have them, in the order in which they are written.
	OwnedFiles []OwnedFile
	// Kernel is the network configuration; nil means that of the caller's network namespace.
	Kernel Kernel
	// Table is hopsack's own packet filter, which routes wait for; nil means that of package nft.
	Table Filter
	// Forward lets pods' packets pass the host's packet filter; nil means that of package nft.
	Forward Filter
	// KeepLoose is how long a device's rp_filter stays loose after nothing needs it any more: packets that a peer sent before
	// it changed its path may still be on their way, for longer the busier the machines. 0 gives it back at once.
	KeepLoose time.Duration
	// Linger is how long a tunnel device stays after it is last wanted, for packets that peers have sent already: 0 means
	// DefaultLinger, a negative one that it goes at once. A TUN device stays tunLinger times as long. Nothing lingers when hopsack leaves.
	Linger time.Duration
	// PodsDir is where the CNI plugin keeps its records of pods (handoff.PodsDir); "" leaves the mtu of pods' routes alone.
	PodsDir string
	// ProcSys is where sysctls are; "" means /proc/sys.
	ProcSys string
	// LoadModule loads a kernel module; nil means modprobe.
	LoadModule func(ctx context.Context, name string) error
}

// DefaultLinger is how long a tunnel device stays after it is last wanted.
const DefaultLinger = 500 * time.Millisecond

// OwnedFile is a file hopsack may write.
type OwnedFile struct {
	Path string
	// Mark is how the content begins where the path alone does not tell whose the file is: a file that begins otherwise is
	// not removed. Empty means that the path is proof.
	Mark string
}

// Filter is a part of the packet filter.
type Filter interface {
	// Sync makes the filter what want says, and removes it when want is nil. full has it read back what it otherwise trusts
	// events to tell. It returns the number of changes. Doing it again changes nothing.
	Sync(ctx context.Context, want *desired.Firewall, full bool) (changes int, problems []desired.Problem, err error)
}

// Kinds of changes, the keys of Changes.
const (
	KindLink     = "link"
	KindAddress  = "address"
	KindSysctl   = "sysctl"
	KindFirewall = "firewall"
	KindFDB      = "fdb"
	KindNeigh    = "neigh"
	KindRoute    = "route"
	KindRule     = "rule"
	KindPod      = "pod"
	KindFile     = "file"
)

// Changes counts writes by kind, deletions included.
type Changes map[string]int

// Total is the number of writes.
func (c Changes) Total() int {
	total := 0
	for _, n := range c {
		total += n
	}
	return total
}

// String prints like "fdb=2 route=2", sorted.
func (c Changes) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s=%d", kind, c[kind]))
	}
	return strings.Join(parts, " ")
}

// Report is what a Sync did.
type Report struct {
	// Changes counts what was written; empty when everything was in place.
	Changes Changes
	// Problems are what a person must see to and no retry mends, at most one per reason: ForeignRoute, ForeignRule, ForeignDevice, RevisionUnusable,
	// HostNotConfigured. What waits for them to be mended is no error.
	Problems []desired.Problem
	// Again is when Sync must be called again though nothing has happened, because something is to go a little later than it
	// is last wanted, or what a further revision needs is not there; 0 means neither.
	Again time.Duration
	// Lingering are the tunnels that stay until then, by name: whatever serves one must go on.
	Lingering []string
}

// Dataplane is a node's data path. It is not safe for concurrent use.
type Dataplane struct {
	opts    Options
	port    uint32
	kernel  Kernel
	sysctls *sysctls
	synced  bool
	// unwanted is since when a tunnel of hopsack's has not been wanted.
	unwanted map[string]time.Time
	// tables are the routing tables that may hold routes of hopsack's, as far as this process knows; rules that there may be
	// rules. Others are looked for in full passes only.
	tables map[int]bool
	rules  bool
	pods   podMemory
}

// New returns a Dataplane that has touched nothing. It opens netlink sockets in the caller's network namespace.
func New(o Options) (*Dataplane, error) {
	if o.StateDir == "" {
		return nil, errors.New("dataplane option StateDir is empty")
	}
	if o.ProcSys == "" {
		o.ProcSys = "/proc/sys"
	}
	if o.Linger == 0 {
		o.Linger = DefaultLinger
	}
	if o.LoadModule == nil {
		o.LoadModule = modprobe
	}
	port, err := o.open()
	if err != nil {
		return nil, err
	}
	return &Dataplane{opts: o, port: port, kernel: o.Kernel, sysctls: newSysctls(o), unwanted: map[string]time.Time{}}, nil
}

// Port is the netlink port by which the Dataplane writes to nftables, 0 when Options.Table was given: events that come from
// it are its own.
func (d *Dataplane) Port() uint32 { return d.port }

// open fills in what reaches the kernel.
func (o *Options) open() (port uint32, err error) {
	if o.Kernel == nil {
		if o.Kernel, err = NewNetlink(); err != nil {
			return 0, err
		}
	}
	if o.Table == nil {
		table, err := nft.NewTable()
		if err != nil {
			return 0, err
		}
		o.Table, port = table, table.Port()
	}
	if o.Forward == nil {
		o.Forward, err = nft.NewForward()
	}
	return port, err
}

// Sync makes the node what want says; the zero State removes everything that is hopsack's. Every call reads the kernel
// afresh. full also reads back what takes a process to read (iptables-legacy) and tries again what was found impossible (a
// missing kernel module); the first call is always full. The error joins what failed, and everything that does not depend on
// a failure was still tried; the Report counts what was done either way. A call that ends early because ctx is done says so.
func (d *Dataplane) Sync(ctx context.Context, want desired.State, full bool) (Report, error) {
	p := &pass{
		Dataplane: d, ctx: ctx, want: want, full: full || !d.synced,
		changes: Changes{}, failed: map[string]*errorList{}, unusable: map[string]bool{}, problems: map[string][]string{},
	}
	p.run(p.removeFiles, p.readLinks, p.makeLinks, p.findUnwanted, p.makeAddrs, p.setSysctls, p.setFilters, p.setFDB, p.setNeighs,
		p.lowerPods, p.setRoutes, p.setTables, p.setRules, p.writeFiles, p.settlePods)
	if !p.doubtful {
		p.run(p.dropRules, p.dropTables, p.dropRoutes, p.dropNeighs, p.dropFDB, p.dropFilters, p.restoreSysctls, p.dropAddrs, p.dropLinks,
			p.closePorts, p.sweep)
	}
	err := p.err()
	d.synced = err == nil
	return Report{Changes: p.changes, Problems: p.report(), Again: p.again, Lingering: slices.Sorted(maps.Keys(p.lingering))}, err
}
