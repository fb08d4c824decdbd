package network

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

func TestRolloutFromAPI(t *testing.T) {
	const spec = "network: 10.244.0.0/16\nbackend: {type: vxlan}\nrollout: "
	for name, tc := range map[string]struct{ rollout, want string }{
		"strategy":         {"{strategy: Recreate}", `spec.rollout.strategy: "Recreate" is not one of Rolling, VerifyOnly`},
		"failure policy":   {"{onFailure: Ignore}", `spec.rollout.onFailure: "Ignore" is not one of Rollback, Pause`},
		"no node":          {"{maxConcurrent: 0}", "spec.rollout.maxConcurrent: 0 is less than 1"},
		"no percentage":    {"{maxConcurrent: few}", `spec.rollout.maxConcurrent: "few" is neither a number nor a percentage`},
		"percentage":       {"{maxConcurrent: 101%}", "spec.rollout.maxConcurrent: 101% is not between 1% and 100%"},
		"canary":           {"{canary: {matchExpressions: [{key: a, operator: Like}]}}", "spec.rollout.canary: "},
		"deadline":         {"{progressDeadlineSeconds: 0}", "spec.rollout.progressDeadlineSeconds: 0 is not between 1 and 86400"},
		"abandon":          {"{abandonAfterSeconds: -1}", "spec.rollout.abandonAfterSeconds: -1 is not between 0 and 31536000"},
		"several":          {"{strategy: x, onFailure: z}", `Rolling, VerifyOnly; spec.rollout.onFailure: "z"`},
		"everything given": {"{strategy: VerifyOnly, onFailure: Pause, maxConcurrent: 3, canary: {matchLabels: {a: b}}, progressDeadlineSeconds: 5, abandonAfterSeconds: 90}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := FromAPI(parseSpec(t, spec+tc.rollout))
			switch {
			case tc.want == "" && err != nil:
				t.Fatal(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("got %v, want %q in it", err, tc.want)
			case tc.want != "":
				return
			}
			p := c.Rollout
			if !p.VerifyOnly || p.OnFailure != v1alpha1.FailurePause || p.ProgressDeadline != 5*time.Second || p.AbandonAfter != 90*time.Second {
				t.Errorf("got %+v", p)
			}
			if !p.IsCanary(map[string]string{"a": "b"}) || p.IsCanary(nil) {
				t.Error("the canary selector selects the wrong nodes")
			}
			effective := c.Effective()
			again, err := FromEffective(&effective)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p.API(), again.Rollout.API()); diff != "" {
				t.Errorf("written and read again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConcurrent(t *testing.T) {
	for name, tc := range map[string]struct {
		rollout     string
		nodes, want int
	}{
		"default, few nodes":  {"{}", 3, 1},
		"default, more nodes": {"{}", 39, 3},
		"number":              {"{maxConcurrent: 7}", 3, 7},
		"all":                 {"{maxConcurrent: 100%}", 5, 5},
		"no nodes":            {"{maxConcurrent: 100%}", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := FromAPI(parseSpec(t, "network: 10.244.0.0/16\nbackend: {type: vxlan}\nrollout: "+tc.rollout))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Rollout.Concurrent(tc.nodes); got != tc.want {
				t.Errorf("%d of %d nodes at once, want %d", got, tc.nodes, tc.want)
			}
			if c.Rollout.IsCanary(map[string]string{"a": "b"}) {
				t.Error("without a selector a node is a canary")
			}
		})
	}
}

// TestUDP: the defaults of the backend, and its way to the API and back.
func TestUDP(t *testing.T) {
	for spec, want := range map[string]uint16{"{type: udp}": 8285, "{type: udp, udp: {}}": 8285, "{type: udp, udp: {port: 9000}}": 9000} {
		c, err := FromAPI(parseSpec(t, "network: 10.244.0.0/16\nbackend: "+spec))
		if err != nil {
			t.Fatal(err)
		}
		b := c.Backend
		if b != (Backend{Type: v1alpha1.BackendUDP, Port: want}) || !b.Encapsulates() || b.RoutesDirectly() {
			t.Errorf("%s: got %+v", spec, b)
		}
		if again, err := BackendFromAPI(b.API()); err != nil || again != b {
			t.Errorf("%s: written and read again: %+v, %v", spec, again, err)
		}
	}
}
