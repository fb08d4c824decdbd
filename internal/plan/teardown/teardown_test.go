package teardown

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/plan"
)

func TestNext(t *testing.T) {
	bound := []plan.Subnet{{State: v1alpha1.SubnetBound}}
	clean := plan.Report{Known: true, Current: true, CleanedUp: true}
	c := plan.Cluster{
		Nodes: map[string]plan.Node{},
		NodeNetworks: map[string]plan.NodeNetwork{
			"asked":       {Subnets: bound, Teardown: true, Report: plan.Report{Known: true, Current: true}},
			"clean":       {Subnets: bound, Teardown: true, Report: clean},
			"old-report":  {Subnets: bound, Teardown: true, Report: plan.Report{Known: true, CleanedUp: true}},
			"not-asked":   {Subnets: bound, Report: clean},
			"new-machine": {Subnets: bound, Teardown: true, Report: plan.Report{Current: true, CleanedUp: true}},
			"not-ready":   {Subnets: bound, Teardown: true},
			"gone":        {Subnets: bound},
			"no-subnet":   {Teardown: true},
		},
		Leases: map[netip.Prefix]plan.Lease{},
	}
	for i, l := range []plan.Lease{
		{Node: "lost", Held: true, Published: true}, {Node: "lost-unpublished", Held: true}, {Node: "lost-not-ready", Held: true, Published: true},
		{Node: "released", Held: true, ReleasedAt: time.Unix(1, 0)}, {Node: "reserved", Reserved: true}, {Node: "gone-too", Held: true, Published: true},
	} {
		l.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		c.Leases[l.Prefix] = l
	}
	for name := range c.NodeNetworks {
		if name != "gone" {
			c.Nodes[name] = plan.Node{Name: name, Ready: name != "not-ready"}
		}
	}
	for _, name := range []string{"lost", "lost-unpublished", "lost-not-ready", "released", "reserved"} {
		c.Nodes[name] = plan.Node{Name: name, Ready: name != "lost-not-ready"}
	}
	want := Step{
		InUse:    []string{"asked", "clean", "lost", "lost-not-ready", "lost-unpublished", "new-machine", "not-asked", "not-ready", "old-report"},
		Blocking: []string{"asked", "lost", "lost-unpublished", "new-machine", "not-asked", "old-report"},
		Lost:     []string{"lost", "lost-not-ready", "lost-unpublished"},
		Skipped:  []string{"lost-not-ready", "not-ready"},
	}
	got := Next(c)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Clean() || !(Step{Skipped: []string{"x"}}).Clean() {
		t.Error("only live nodes that have not reported to be clean block")
	}
}
