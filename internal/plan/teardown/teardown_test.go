package teardown

import (
	"net/netip"
	"testing"

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
		Leases: map[netip.Prefix]plan.Lease{netip.MustParsePrefix("10.0.1.0/24"): {Node: "lost", Published: true}},
	}
	for name := range c.NodeNetworks {
		if name != "gone" {
			c.Nodes[name] = plan.Node{Name: name, Ready: name != "not-ready"}
		}
	}
	c.Nodes["lost"] = plan.Node{Name: "lost", Ready: true}
	want := Step{
		InUse:    []string{"asked", "clean", "lost", "new-machine", "not-asked", "not-ready", "old-report"},
		Blocking: []string{"asked", "lost", "new-machine", "not-asked", "old-report"},
		Lost:     []string{"lost"},
		Skipped:  []string{"not-ready"},
	}
	got := Next(c)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Clean() || !(Step{Skipped: []string{"x"}}).Clean() {
		t.Error("only live nodes that have not reported to be clean block")
	}
}
