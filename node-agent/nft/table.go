package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// Table keeps the nftables table. It is not safe for concurrent use.
type Table struct {
	kernel *netfilter
	port   uint32
	nft    knftables.Interface // nil until first needed: finding it out runs the nft program
	// have is what the table was made from, nil when that is not known.
	have       *desired.Firewall
	seen       fingerprint
	generation uint32
}

// NewTable returns a Table of the caller's network namespace that has touched nothing.
func NewTable() (*Table, error) {
	kernel, err := newNetfilter()
	if err != nil {
		return nil, err
	}
	port, err := kernel.port()
	if err != nil {
		return nil, err
	}
	return &Table{kernel: kernel, port: port}, nil
}

// Port is the netlink port by which peers are written; events of nftables that come from it are the Table's own.
func (t *Table) Port() uint32 { return t.port }

const (
	// updateTries is how often an update is begun again because somebody else changed nftables in between.
	updateTries = 3
	// maxUpdate is how many elements one message may hold; more are written with the whole table.
	maxUpdate = 1000
)

var errTooMany = errors.New("too many elements for one message")

// Sync makes the table what want says, and removes it when want is nil. It returns the number of changes; a whole table
// written counts as one. The table found by the first call of a process is replaced, as nothing tells what made it. A full
// call looks at the table although nothing says that it changed. There are no problems, only errors: without the table no
// route may be made.
func (t *Table) Sync(ctx context.Context, want *desired.Firewall, full bool) (int, []desired.Problem, error) {
	if want == nil {
		changes, err := t.remove(ctx)
		return changes, nil, err
	}
	for range updateTries {
		intact, err := t.intact(full)
		if err != nil {
			return 0, nil, err
		}
		if !intact || !sameRules(t.have, want) {
			break
		}
		changes, err := t.update(ctx, want)
		if err == nil {
			return changes, nil, nil
		}
		if !errors.Is(err, errRulesChanged) {
			break // an element was not as expected: write it all
		}
		full = true // look again
	}
	if err := t.write(ctx, want, func(tx *knftables.Transaction) { render(tx, want) }); err != nil {
		return 0, nil, err
	}
	return 1, nil, nil
}

// intact says whether the table is as the last call left it.
func (t *Table) intact(full bool) (bool, error) {
	if t.have == nil {
		return false, nil
	}
	generation, err := t.kernel.generation()
	if err != nil {
		return false, err
	}
	if generation == t.generation && !full {
		return true, nil
	}
	now, err := t.kernel.fingerprint(unix.NFPROTO_INET, TableName)
	if err != nil {
		return false, err
	}
	if !now.equal(t.seen) {
		return false, nil
	}
	t.generation = generation // read before the fingerprint: a change in between makes the next call look again
	return true, nil
}

// update brings the sets of an intact table up to date.
func (t *Table) update(ctx context.Context, want *desired.Firewall) (int, error) {
	changes, keys := elementChanges(t.have, want)
	if !sameNetworks(t.have, want) {
		// Rare: ranges are merged by the nft program, and peers and ports go with the next call.
		next := clone(want)
		next.Peers, next.TunnelPorts = t.have.Peers, t.have.TunnelPorts
		sets := 0
		if err := t.write(ctx, next, func(tx *knftables.Transaction) { sets = updateNetworks(tx, t.have, next) }); err != nil {
			return 0, err
		}
		more, err := t.update(ctx, want)
		return sets + more, err
	}
	if keys == 0 {
		return 0, nil
	}
	if keys > maxUpdate {
		return 0, errTooMany
	}
	if err := t.kernel.change(t.generation, changes); err != nil {
		return 0, err
	}
	// The kernel made the change on the very generation that was looked at, so what the table has now is known.
	if t.generation++; t.generation == 0 {
		t.generation++
	}
	for _, c := range changes {
		sum := t.seen.sets[c.set]
		for _, key := range c.keys {
			if c.delete {
				sum.remove(key)
			} else {
				sum.add(key)
			}
		}
		t.seen.sets[c.set] = sum
	}
	t.have = clone(want)
	return keys, nil
}

// write runs a transaction and remembers what the table looks like after it.
func (t *Table) write(ctx context.Context, want *desired.Firewall, fill func(*knftables.Transaction)) error {
	if err := t.open(); err != nil {
		return err
	}
	tx := t.nft.NewTransaction()
	fill(tx)
	t.have = nil
	if err := t.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("write nftables table %s: %w", TableName, err)
	}
	return t.remember(want)
}

// remember looks at the table just written. One that does not have what was written was changed in that moment, and is not
// remembered, so that the next call writes it again.
func (t *Table) remember(want *desired.Firewall) error {
	generation, err := t.kernel.generation()
	if err != nil {
		return err
	}
	seen, err := t.kernel.fingerprint(unix.NFPROTO_INET, TableName)
	if err != nil {
		return err
	}
	peers := seen.sets[setPeers+"4"].count + seen.sets[setPeers+"6"].count
	if ports := seen.sets[setPorts].count; seen.rules != len(rules(want)) || peers != len(want.Peers) || ports != len(want.TunnelPorts) {
		return fmt.Errorf("nftables table %s was changed while it was written: it has %d rules, %d peers and %d ports, and %d, %d and %d were written",
			TableName, seen.rules, peers, ports, len(rules(want)), len(want.Peers), len(want.TunnelPorts))
	}
	t.have, t.seen, t.generation = clone(want), seen, generation
	return nil
}

// clone keeps the lists from being changed by whoever made them.
func clone(fw *desired.Firewall) *desired.Firewall {
	out := *fw
	out.PodNetworks, out.LocalSubnets, out.Except = slices.Clone(fw.PodNetworks), slices.Clone(fw.LocalSubnets), slices.Clone(fw.Except)
	out.NodeAddrs, out.TunnelPorts, out.Peers = slices.Clone(fw.NodeAddrs), slices.Clone(fw.TunnelPorts), slices.Clone(fw.Peers)
	return &out
}

func (t *Table) remove(ctx context.Context) (int, error) {
	t.have = nil
	found, err := t.kernel.exists(unix.NFPROTO_INET, TableName)
	if err != nil || !found {
		return 0, err
	}
	if err := t.open(); err != nil {
		return 0, err
	}
	tx := t.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := t.nft.Run(ctx, tx); err != nil {
		return 0, fmt.Errorf("delete nftables table %s: %w", TableName, err)
	}
	return 1, nil
}

// open finds the nft program, once.
func (t *Table) open() error {
	if t.nft != nil {
		return nil
	}
	nft, err := knftables.New(knftables.InetFamily, TableName)
	if err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	t.nft = nft
	return nil
}
