package dataplane_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// A rule of somebody else's that sends probes by table main, as set-ups with several uplinks have one for pods, would have them prove
// the path in force; one that changes nothing for them is no matter.
func TestForeignRuleBeforeProbes(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2)
	withPath(&want, 1, 10402, tunnel, 2)
	sync(t, d, want)
	for _, rule := range []string{"priority 50 lookup 200", "priority 60 from 10.64.2.0/24 lookup main", "priority 70 fwmark 0x99 lookup main"} {
		nstest.Run(t, "ip rule add "+rule)
	}
	if r := sync(t, d, want); len(r.Problems) > 0 {
		t.Errorf("problems %v with rules that are not for probes", r.Problems)
	}
	nstest.Run(t, "ip rule add priority 80 from 10.64.1.0/24 to 10.64.0.0/10 lookup main")
	r, err := d.Sync(context.Background(), want, false)
	if err != nil || len(r.Problems) != 1 || r.Problems[0].Reason != v1alpha1.ReasonForeignRule || !strings.Contains(r.Problems[0].Message, "254") {
		t.Errorf("got problems %v, error %v, want a foreign rule that leads to table 254", r.Problems, err)
	}
	if r.Again <= 0 || r.Again > 10*time.Second {
		t.Errorf("looks again after %s, want soon", r.Again)
	}
	nstest.Run(t, "ip rule del priority 80")
	if r := sync(t, d, want); len(r.Problems) > 0 {
		t.Errorf("problems %v after it went", r.Problems)
	}
}
