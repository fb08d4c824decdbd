package dataplane_test

import (
	"context"
	"net"
	"testing"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// A UDP port that another program has keeps a further revision from being received, and nothing else: what is in use is in place and
// no error says otherwise. The tunnel comes up by itself when the port is free.
func TestPortOfFurtherRevisionIsTaken(t *testing.T) {
	nstest.Enter(t)
	withUnderlay(t)
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 8999})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := options(t)
	d := newDataplane(t, o)
	want := nodeState(o.StateDir, 1, 2)
	sync(t, d, want)
	further := want.Links[tunnel]
	further.Port = 8999
	want.Links["hs1-8999"] = further
	withPath(&want, 1, 10402, "hs1-8999", 2)
	r, err := d.Sync(context.Background(), want, false)
	if err != nil || len(r.Problems) != 2 || r.Problems[0].Reason != v1alpha1.ReasonRevisionUnusable || r.Again <= 0 || r.Again > 1e9 {
		t.Fatalf("got problems %v, again %s, error %v, want an unusable revision first, and another try within a second", r.Problems, r.Again, err)
	}
	contains(t, "ip route", "10.64.2.0/24")
	taken.Close()
	if r = sync(t, d, want); len(r.Problems) > 0 {
		t.Errorf("problems %v after the port became free", r.Problems)
	}
	settled(t, d, want)
}
