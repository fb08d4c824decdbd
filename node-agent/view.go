package nodeagent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// view is what the agent believes of the API's objects. It never forgets on absence alone: a peer goes when its lease is
// seen released or deleted, when its subnet belongs to another node, or when it has been missing from complete lists for
// the retention time. All methods may be called concurrently.
type view struct {
	mu     sync.Mutex
	node   *v1alpha1.NodeNetwork
	parsed network.Node
	// nodeGone is when the own NodeNetwork was seen missing; zero while it is there.
	nodeGone time.Time
	// noSubnet says that the controller took the last subnet away; parsed still has the previous ones.
	noSubnet bool
	// fromDisk says that node comes from an earlier process and the API has not confirmed it.
	fromDisk bool
	// listed says that leases holds a complete list: the API's first, or an earlier process's. Before, absence says nothing.
	listed bool
	leases map[string]heldLease
	// rejected are objects that cannot be parsed, by name, with why.
	rejected map[string]string
	// changed says that the store on disk is out of date.
	changed bool
	// moves counts how often the revision to send with changed.
	moves uint64
	// reported is the status that the NodeNetwork had when the API first showed it: an earlier process's report.
	reported *v1alpha1.NodeNetworkStatus
}

// heldLease is a lease as last seen in good order.
type heldLease struct {
	object *v1alpha1.SubnetLease
	parsed network.Lease
	// doubtfulSince is when the lease was first missing, or without endpoint, for no known reason; zero when in good order.
	doubtfulSince time.Time
}

func newView() *view {
	return &view{leases: map[string]heldLease{}, rejected: map[string]string{}}
}

// setNode takes up a NodeNetwork and says whether that makes a difference: the agent's own status writes come back as
// events that make none. One that cannot be parsed leaves the previous one in force.
func (v *view) setNode(n *v1alpha1.NodeNetwork) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	parsed, err := network.NodeFromAPI(n)
	if err != nil {
		v.rejected[n.Name] = err.Error()
		return true
	}
	if v.node != nil && v.node.UID == n.UID && v.node.Generation == n.Generation && v.nodeGone.IsZero() && !v.fromDisk {
		return false
	}
	v.fromDisk = false
	if v.reported == nil && n.Status.ObservedGeneration > 0 {
		v.reported = n.Status.DeepCopy()
	}
	if transmitID(v.parsed) != transmitID(parsed) && v.node != nil {
		v.moves++
	}
	delete(v.rejected, n.Name)
	v.noSubnet = !parsed.StableSubnet().IsValid() && v.parsed.StableSubnet().IsValid()
	if v.noSubnet {
		parsed.Subnets = v.parsed.Subnets // pods that run keep their network; none can start
	}
	v.node, v.parsed, v.nodeGone = n, parsed, time.Time{}
	v.changed = true
	return true
}

func transmitID(n network.Node) string {
	if n.Transmit == nil {
		return ""
	}
	return n.Transmit.ID
}

// loseNode notes that the own NodeNetwork is missing. The last one stays in force.
func (v *view) loseNode(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.nodeGone.IsZero() {
		v.nodeGone = now
	}
}

// setLease takes up a lease that exists, and says whether that makes a difference.
func (v *view) setLease(l *v1alpha1.SubnetLease, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	parsed, err := network.LeaseFromAPI(l)
	if err != nil {
		v.rejected[l.Name] = err.Error()
		return true
	}
	_, wasRejected := v.rejected[l.Name]
	delete(v.rejected, l.Name)
	held, known := v.leases[l.Name]
	sameNode := known && held.parsed.Node == parsed.Node
	switch {
	case parsed.Unbound:
		v.drop(l.Name)
		return known || wasRejected
	case parsed.Routable:
		if known && equalLease(held.parsed, parsed) && held.doubtfulSince.IsZero() {
			return wasRejected
		}
		v.dropOverlapping(parsed)
		v.changed = true
		v.leases[l.Name] = heldLease{object: l, parsed: parsed}
		return true
	case sameNode: // an endpoint that vanished: keep the last one, and say so
		if held.doubtfulSince.IsZero() {
			held.doubtfulSince = now
			v.leases[l.Name] = held
		}
	case known: // the subnet belongs to another node now, which has published nothing yet
		v.drop(l.Name)
	}
	return known || wasRejected
}

// loseLease notes that a lease is gone. seen says that its deletion was watched, not just that a list lacks it.
func (v *view) loseLease(name string, seen bool, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.rejected, name)
	held, known := v.leases[name]
	switch {
	case !known:
	case seen:
		v.drop(name)
	case held.doubtfulSince.IsZero():
		held.doubtfulSince = now
		v.leases[name] = held
	}
}

// onlyThese notes the first complete list: what came from disk and is not in it is in doubt.
func (v *view) onlyThese(names map[string]struct{}, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listed = true
	for name, held := range v.leases {
		if _, listed := names[name]; !listed && held.doubtfulSince.IsZero() {
			held.doubtfulSince = now
			v.leases[name] = held
		}
	}
}

// drop forgets a lease. The caller holds the lock.
func (v *view) drop(name string) {
	if _, known := v.leases[name]; known {
		delete(v.leases, name)
		v.changed = true
	}
}

// dropOverlapping forgets doubtful leases of other nodes whose range is bound to this one now.
func (v *view) dropOverlapping(bound network.Lease) {
	for name, held := range v.leases {
		if !held.doubtfulSince.IsZero() && held.parsed.Node != bound.Node && held.parsed.Subnet.Overlaps(bound.Subnet) {
			v.drop(name)
		}
	}
}

func equalLease(a, b network.Lease) bool {
	return a.Subnet == b.Subnet && a.Node == b.Node && a.VTEP == b.VTEP && a.Routable == b.Routable &&
		slices.Equal(a.PublicIPs, b.PublicIPs)
}

// snapshot is the view at one moment.
type snapshot struct {
	// Node is the last good NodeNetwork; nil before the first.
	Node *v1alpha1.NodeNetwork
	// Listed is false until Peers are all there are, as far as anybody knows: a peer that is missing may just not have come yet.
	Listed   bool
	Parsed   network.Node
	NoSubnet bool
	NodeGone time.Time
	// Peers are all leases held, the node's own included.
	Peers []network.Lease
	// Doubtful names the leases kept in doubt, sorted.
	Doubtful []string
	// Rejected says why objects were not taken up, sorted.
	Rejected []string
	// Moves counts how often the revision to send with changed.
	Moves uint64
	// Reported is what an earlier process reported, nil when nothing is known of that.
	Reported *v1alpha1.NodeNetworkStatus
}

// endpoint is where peers reach the node, "" while none is published.
func (s snapshot) endpoint() string {
	own := s.Parsed.StableSubnet()
	for _, l := range s.Peers {
		if l.Node == s.Parsed.Name && l.Subnet == own {
			return joinAddrs(l.PublicIPs)
		}
	}
	return ""
}

// alone says that no other node can be reached.
func (s snapshot) alone() bool {
	return !slices.ContainsFunc(s.Peers, func(l network.Lease) bool { return l.Node != s.Parsed.Name })
}

func joinAddrs(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}

// published says whether peers can know how to reach the node: a pod that starts before would wait for answers that go
// nowhere.
func (s snapshot) published() bool {
	own := s.Parsed.StableSubnet()
	return slices.ContainsFunc(s.Peers, func(l network.Lease) bool { return l.Node == s.Parsed.Name && l.Subnet == own })
}

// take returns the view, after forgetting leases that have been in doubt for the retention time.
func (v *view) take(now time.Time) snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := snapshot{Node: v.node, Listed: v.listed, Parsed: v.parsed, NoSubnet: v.noSubnet, NodeGone: v.nodeGone, Moves: v.moves, Reported: v.reported}
	for name, held := range v.leases {
		if !held.doubtfulSince.IsZero() && now.Sub(held.doubtfulSince) >= v.parsed.Retention {
			v.drop(name)
			continue
		}
		if !inside(v.parsed.PodNetworks, held.parsed.Subnet) { // a route to it would take other traffic away
			s.Rejected = append(s.Rejected, name+": lies outside the pod networks")
			continue
		}
		s.Peers = append(s.Peers, held.parsed)
		if !held.doubtfulSince.IsZero() {
			s.Doubtful = append(s.Doubtful, name)
		}
	}
	for name, why := range v.rejected {
		s.Rejected = append(s.Rejected, name+": "+why)
	}
	slices.Sort(s.Doubtful)
	slices.Sort(s.Rejected)
	return s
}

// inside says whether one of networks holds all of subnet.
func inside(networks []netip.Prefix, subnet netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= subnet.Bits() && n.Contains(subnet.Addr()) })
}

// restore takes up what an earlier process saw. It must come before anything else.
func (v *view) restore(c store.Content) {
	v.setNode(&c.Node)
	for i := range c.Leases {
		v.setLease(&c.Leases[i], c.SavedAt)
	}
	v.mu.Lock()
	v.changed, v.fromDisk, v.listed = false, true, true
	v.mu.Unlock()
}

// toSave returns what the disk should have, and false when it has it already or there is nothing worth keeping.
func (v *view) toSave(now time.Time) (store.Content, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.changed || v.node == nil {
		return store.Content{}, false
	}
	v.changed = false
	c := store.Content{SavedAt: now, Node: *v.node}
	c.Node.Status = v1alpha1.NodeNetworkStatus{}
	for _, held := range v.leases {
		c.Leases = append(c.Leases, *held.object)
	}
	slices.SortFunc(c.Leases, func(a, b v1alpha1.SubnetLease) int { return cmp.Compare(a.Name, b.Name) })
	return c, true
}

// touch asks for another save although nothing changed, so that the time in the file stays young.
func (v *view) touch() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changed = true
}
