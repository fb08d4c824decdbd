package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func TestSameSpec(t *testing.T) {
	spec := func(config string) v1alpha1.NodeNetworkSpec {
		return v1alpha1.NodeNetworkSpec{CNI: v1alpha1.CNISettings{Plugins: []v1alpha1.ChainedPlugin{{
			Type: "bandwidth", Config: &runtime.RawExtension{Raw: []byte(config)},
		}}}}
	}
	for name, tc := range map[string]struct {
		a, b v1alpha1.NodeNetworkSpec
		same bool
	}{
		"equal":              {spec(`{"a":1}`), spec(`{"a":1}`), true},
		"printed otherwise":  {spec(`{"a":1,"b":"<"}`), spec(`{ "b": "\u003c", "a": 1.0 }`), true},
		"other value":        {spec(`{"a":1}`), spec(`{"a":2}`), false},
		"empty and nil list": {v1alpha1.NodeNetworkSpec{InternalIPs: []string{}}, v1alpha1.NodeNetworkSpec{}, true},
		"other field":        {v1alpha1.NodeNetworkSpec{Transmit: "a"}, v1alpha1.NodeNetworkSpec{}, false},
	} {
		if got := sameSpec(tc.a, tc.b); got != tc.same {
			t.Errorf("%s: %v, want %v", name, got, tc.same)
		}
	}
}

// TestEcho: a pass waits for the cache to show the controller's own writes, but not for ever.
func TestEcho(t *testing.T) {
	nn := func(version string) *v1alpha1.NodeNetwork {
		return &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1", ResourceVersion: version}}
	}
	other := nn("30")
	other.UID = "u2"
	start := time.Unix(1000, 0)
	for name, tc := range map[string]struct {
		seen    *v1alpha1.NodeNetwork
		deleted bool
		after   time.Duration
		lags    bool
		overdue bool
	}{
		"older":                 {seen: nn("19"), lags: true},
		"the one written":       {seen: nn("20")},
		"newer":                 {seen: nn("100")},
		"not there yet":         {lags: true},
		"older, too long":       {seen: nn("19"), after: echoPatience + time.Second, overdue: true},
		"not there, too long":   {after: echoPatience + time.Second, overdue: true},
		"deleted, still there":  {seen: nn("19"), deleted: true, lags: true},
		"deleted and gone":      {deleted: true},
		"deleted and made anew": {seen: other, deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			var e echo
			e.note(kindNodeNetwork, nn("20"), tc.deleted, start)
			s := &snapshot{nodeNetworks: map[string]*v1alpha1.NodeNetwork{}}
			if tc.seen != nil {
				s.nodeNetworks["n1"] = tc.seen
			}
			lags, overdue := e.lags(s, start.Add(tc.after))
			if lags != tc.lags || (len(overdue) > 0) != tc.overdue {
				t.Errorf("lags: %v and overdue %v, want %v and %v", lags, overdue, tc.lags, tc.overdue)
			}
		})
	}
}
