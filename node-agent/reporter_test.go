package nodeagent

import (
	"testing"
	"time"

	"github.com/go-logr/logr"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// Counts go with other changes, or within a second in a small cluster and a minute in a large one: by themselves they cause no
// write on every node at once.
func TestCountsWait(t *testing.T) {
	status := func(transmit string, direct int32) v1alpha1.NodeNetworkStatus {
		return v1alpha1.NodeNetworkStatus{TransmitRevision: transmit, Paths: &v1alpha1.PathCounts{Direct: direct}}
	}
	posted := status("a", 1)
	for name, tc := range map[string]struct {
		want  v1alpha1.NodeNetworkStatus
		after time.Duration
		due   bool
	}{
		"nothing new":                  {status("a", 1), time.Hour, false},
		"counts at once":               {status("a", 2), 0, false},
		"counts after half a second":   {status("a", 2), countsSoon/2 - 1, false},
		"counts after a second":        {status("a", 2), countsSoon, true},
		"100 peers, after 3 s":         {status("a", 100), 3*time.Second - 1, false},
		"100 peers, after 6 s":         {status("a", 100), 6 * time.Second, true},
		"many, after half a minute":    {status("a", 5000), countsAfter/2 - 1, false},
		"many, after a minute":         {status("a", 5000), countsAfter, true},
		"counts with another revision": {status("b", 2), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReporter(nil, logr.Discard())
			r.posted = &posted
			r.report(&v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1"}}, tc.want)
			r.due(now)
			if _, _, due := r.due(now.Add(tc.after)); due != tc.due {
				t.Errorf("due: %t, want %t", due, tc.due)
			}
		})
	}
}

// A report goes to the object it is about, never to another one of the same name.
func TestReportNamesItsObject(t *testing.T) {
	r := newReporter(nil, logr.Discard())
	r.report(&v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1"}}, v1alpha1.NodeNetworkStatus{})
	if about, _, due := r.due(now); !due || about.Name != "n1" || about.UID != "u1" {
		t.Errorf("got %s, uid %q, due %t; want n1, u1, due", about.Name, about.UID, due)
	}
}
