package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// remembered is what status holds about a failure of the present generation.
func remembered(policy v1alpha1.FailurePolicy) v1alpha1.RolloutStatus {
	return v1alpha1.RolloutStatus{Target: "b", Source: "a", Failure: &v1alpha1.RolloutFailure{
		Generation: 7, Revision: "b", Node: "n0", Policy: policy, Message: "n1: no answer",
	}}
}

func ago(d time.Duration) *metav1.MicroTime {
	t := metav1.NewMicroTime(noon.Add(-d))
	return &t
}

// TestNextWith: what policies, annotations and memory change.
func TestNextWith(t *testing.T) {
	moved := []tn{nn("ab", "b", failed("b", "a")), nn("ab", "b"), nn("ab", "a")}
	proven := []tn{nn("ab", "a"), nn("ab", "a"), nn("ab", "a")}
	one := func(in *Input) { in.Policy.MaxConcurrent = intstr.FromInt32(1) }
	onCanary := func(in *Input) { in.Policy.Canary = labels.SelectorFromSet(labels.Set{"canary": "yes"}) }
	paused := func(in *Input) { in.Paused = true }
	dry := func(in *Input) { in.Policy.VerifyOnly = true }
	rolled := func(in *Input) { in.Past = remembered(v1alpha1.FailureRollback) }
	held := func(in *Input) { in.Past = remembered(v1alpha1.FailurePause) }
	late := func(in *Input) {
		in.Past = v1alpha1.RolloutStatus{Target: "b", Phase: v1alpha1.PhasePreparing, WaitingCount: 1, ProgressedAt: ago(10 * time.Minute)}
	}
	for name, tc := range map[string]struct {
		nodes  []tn
		change []func(*Input)
		want   string
	}{
		"one at a time":                 {proven, []func(*Input){one}, "Switching ab: b a a | n0 n1 n2"},
		"one is on the move":            {[]tn{nn("ab", "a"), nn("ab", "b", stale), nn("ab", "a")}, []func(*Input){one}, "Switching ab: a b a | n0 n1 n2"},
		"live ones first":               {[]tn{nn("ab", "a", away(time.Hour)), nn("ab", "a"), nn("ab", "a")}, []func(*Input){one}, "Switching ab: a b a | n0 n1 n2"},
		"canaries first":                {[]tn{nn("ab", "a"), nn("ab", "a", canary), nn("ab", "a")}, []func(*Input){onCanary}, "Switching ab: a b a | n0 n1 n2"},
		"a canary has not proven it":    {[]tn{nn("ab", "a"), nn("ab", "b", canary, stale), nn("ab", "a")}, []func(*Input){onCanary}, "Switching ab: a b a | n0 n1 n2"},
		"the canaries have proven it":   {[]tn{nn("ab", "a"), nn("ab", "b", canary), nn("ab", "a")}, []func(*Input){onCanary}, "Switching ab: b b b | n0 n2"},
		"no canaries":                   {proven, []func(*Input){onCanary}, "Switching ab: b b b | n0 n1 n2"},
		"paused before a move":          {proven, []func(*Input){paused}, "Switching ab: a a a | n0 n1 n2"},
		"paused before the clean-up":    {[]tn{nn("ab", "b"), nn("ab", "b")}, []func(*Input){paused}, "Cleaning ab: b b"},
		"paused, and still prepared":    {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){paused}, "Preparing ab: a a | n0 n1"},
		"rolled back although paused":   {moved, []func(*Input){rolled, paused}, "RollingBack ab: a a a | n0 n1 RolledBack"},
		"rolled back all at once":       {moved, []func(*Input){rolled, one}, "RollingBack ab: a a a | n0 n1 RolledBack"},
		"all had moved":                 {[]tn{nn("ab", "b", failed("b", "a")), nn("ab", "b")}, []func(*Input){rolled}, "RollingBack ab: a a | n0 n1 RolledBack"},
		"back, not all confirmed":       {[]tn{nn("ab", "a", stale), nn("ab", "a")}, []func(*Input){rolled}, "RollingBack ab: a a | n0 RolledBack"},
		"back":                          {[]tn{nn("ab", "a"), nn("ab", "a")}, []func(*Input){rolled}, "RollingBack a: a a RolledBack"},
		"back and settled":              {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){rolled}, "Settled a: a a RolledBack"},
		"tried again on request":        {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){rolled, func(in *Input) { in.Retry = "again" }}, "Preparing ab: a a | n0 n1"},
		"tried again with a new spec":   {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){rolled, func(in *Input) { in.Generation = 8 }}, "Preparing ab: a a | n0 n1"},
		"a failure, not remembered yet": {moved, []func(*Input){func(in *Input) { in.Policy.OnFailure = v1alpha1.FailurePause }}, "Switching ab: b b a | n0 n2 SwitchFailed"},
		"the failed one goes back":      {moved, []func(*Input){held}, "Switching ab: a b a | n0 n2 SwitchFailed"},
		"and then nothing moves":        {[]tn{nn("ab", "a"), nn("ab", "b"), nn("ab", "a")}, []func(*Input){held}, "Switching ab: a b a | n0 n2 SwitchFailed"},
		"until that is asked for":       {[]tn{nn("ab", "a"), nn("ab", "b"), nn("ab", "a")}, []func(*Input){held, func(in *Input) { in.Retry = "again" }}, "Switching ab: b b b | n0 n2"},
		"an older target had failed":    {[]tn{nn("ac", "c", failed("c", "a")), nn("ac", "a")}, nil, "Preparing abc: c a | n0 n1"},
		"room beside what it left":      {[]tn{nn("acd", "c", failed("c", "a")), nn("acd", "c")}, nil, "Preparing ac: c c | n0 n1"},
		"one comes back with two more":  {[]tn{nn("b", "b"), nn("acd", "c", booted)}, nil, "Preparing bcd: b c | n1"},
		"dry run, nothing to compare":   {[]tn{nn("b", "b")}, []func(*Input){dry}, "Settled b: b"},
		"dry run prepares":              {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){dry}, "Preparing ab: a a | n0 n1"},
		"dry run verifies":              {[]tn{nn("ab", "a", unprobed), nn("ab", "a", unprobed)}, []func(*Input){dry}, "Verifying ab: a a | n0 n1"},
		"dry run has proven it":         {proven, []func(*Input){dry}, "Verifying ab: a a a"},
		"dry run cleans up": {proven, []func(*Input){dry, func(in *Input) {
			in.Past = v1alpha1.RolloutStatus{Target: "b", Generation: 7, Verified: true}
		}}, "Cleaning a: a a a"},
		"dry run is over": {[]tn{nn("a", "a"), nn("a", "a")}, []func(*Input){dry, func(in *Input) {
			in.Past = v1alpha1.RolloutStatus{Target: "b", Generation: 7, Verified: true}
		}}, "Settled a: a a"},
		"dry run after a half roll-out": {[]tn{nn("ab", "b"), nn("ab", "a")}, []func(*Input){dry}, "RollingBack ab: a a | n0"},
		"no progress":                   {[]tn{nn("ab", "a"), nn("ab", "a", stale)}, []func(*Input){late}, "Preparing ab: a a | n1 ProgressDeadlineExceeded"},
		"no progress, but paused":       {[]tn{nn("ab", "a"), nn("ab", "a", stale)}, []func(*Input){late, paused}, "Preparing ab: a a | n1"},
		"abandoned": {[]tn{nn("ab", "a"), nn("ab", "a"), nn("a", "a", stale, away(time.Hour))}, []func(*Input){func(in *Input) {
			in.Policy.AbandonAfter = 30 * time.Minute
		}}, "Switching ab: b b a | n0 n1"},
		"not abandoned yet": {[]tn{nn("ab", "a"), nn("ab", "a"), nn("a", "a", stale, away(time.Hour))}, []func(*Input){func(in *Input) {
			in.Policy.AbandonAfter = 2 * time.Hour
		}}, "Preparing ab: a a a | n2"},
		"most are away": {[]tn{nn("ab", "a"), nn("a", "a", stale, away(time.Hour)), nn("a", "a", stale, away(time.Hour))}, []func(*Input){func(in *Input) {
			in.Policy.AbandonAfter = 30 * time.Minute
		}}, "Preparing ab: a a a | n1 n2"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.nodes)
			for _, f := range tc.change {
				f(&in)
			}
			if got := show(Next(in), len(tc.nodes)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestAdmit: a node is published when it receives all that may be sent to it, others receive what it sends, and the view is fresh.
func TestAdmit(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []tn
		want  []string
	}{
		"the first ones":               {[]tn{nn("b", "b", unpublished), nn("b", "b", unpublished)}, []string{"n0", "n1"}},
		"one that joins":               {[]tn{nn("b", "b"), nn("b", "b", unpublished)}, []string{"n0", "n1"}},
		"not prepared":                 {[]tn{nn("b", "b"), nn("b", "b", joiner)}, []string{"n0"}},
		"not for the present spec":     {[]tn{nn("b", "b"), nn("b", "b", unpublished, stale)}, []string{"n0"}},
		"not since it booted":          {[]tn{nn("b", "b"), nn("b", "b", unpublished, booted)}, []string{"n0"}},
		"lacks a live revision":        {[]tn{nn("ab", "a"), nn("a", "a", unpublished)}, []string{"n0"}},
		"the others do not receive it": {[]tn{nn("b", "b"), nn("ab", "a", unpublished)}, nil},
		"the view may be old":          {[]tn{nn("b", "b", foreign), nn("b", "b", unpublished)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			step := Next(input(tc.nodes))
			var got []string
			for name := range step.Admit {
				got = append(got, name)
			}
			if slices.Sort(got); !slices.Equal(got, tc.want) {
				t.Errorf("admits %v, want %v (%s)", got, tc.want, show(step, len(tc.nodes)))
			}
		})
	}
}

// TestStatusStays: a step that changes nothing says exactly what the one before said.
func TestStatusStays(t *testing.T) {
	for name, nodes := range map[string][]tn{
		"settled":   {nn("b", "b"), nn("b", "b")},
		"preparing": {nn("ab", "a"), nn("ab", "a", stale)},
		"verifying": {nn("ab", "a", unproven("NoAnswer", "n1")), nn("ab", "a", unproven("NoAnswer", "n0"))},
		"switching": {nn("ab", "b", stale), nn("ab", "b")},
		"failed":    {nn("ab", "b", failed("b", "a")), nn("ab", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(nodes)
			in.Past = Next(in).Status
			in.Now = in.Now.Add(time.Second)
			in.Past = Next(in).Status
			in.Now = in.Now.Add(time.Second)
			if diff := cmp.Diff(in.Past, Next(in).Status); diff != "" {
				t.Errorf("status changes by itself (-before +after):\n%s", diff)
			}
		})
	}
}

// TestTimes: when a change, its phases and its progress began, and when it was done.
func TestTimes(t *testing.T) {
	at := func(m *metav1.MicroTime) string {
		if m == nil {
			return "-"
		}
		return m.Sub(noon).String()
	}
	var past v1alpha1.RolloutStatus
	for i, step := range []struct {
		nodes []tn
		want  string // phase, started, phase started, progressed, completed
	}{
		{[]tn{nn("a", "a"), nn("a", "a")}, "Preparing 0s 0s 0s -"},
		{[]tn{nn("ab", "a"), nn("ab", "a", stale)}, "Preparing 0s 0s 1s -"},
		{[]tn{nn("ab", "a"), nn("ab", "a", stale)}, "Preparing 0s 0s 1s -"},
		{[]tn{nn("ab", "a"), nn("ab", "a")}, "Switching 0s 3s 3s -"},
		{[]tn{nn("ab", "b"), nn("ab", "b", stale)}, "Switching 0s 3s 4s -"},
		{[]tn{nn("ab", "b"), nn("ab", "b")}, "Cleaning 0s 5s 5s -"},
		{[]tn{nn("b", "b"), nn("b", "b")}, "Settled 0s 6s 6s 6s"},
		{[]tn{nn("b", "b"), nn("b", "b")}, "Settled 0s 6s 6s 6s"},
	} {
		in := input(step.nodes)
		in.Now, in.Past = noon.Add(time.Duration(i)*time.Second), past
		past = Next(in).Status
		got := strings.Join([]string{string(past.Phase), at(past.StartedAt), at(past.PhaseStartedAt), at(past.ProgressedAt), at(past.CompletedAt)}, " ")
		if got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
	if past.Source != "a" || past.Target != "b" || past.Generation != 7 {
		t.Errorf("in the end status says %+v", past)
	}
}

// TestWake: the controller sleeps until time alone changes something.
func TestWake(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []tn
		want  time.Duration // 0: never
	}{
		"settled":        {[]tn{nn("b", "b")}, 0},
		"deadline":       {[]tn{nn("ab", "a", stale)}, 10 * time.Minute},
		"not live soon":  {[]tn{nn("ab", "a", stale, away(30*time.Second))}, 10*time.Second + time.Millisecond},
		"failing pairs":  {[]tn{nn("ab", "a", unproven("NoAnswer", "n1")), nn("ab", "a", unproven("NoAnswer", "n0"))}, verifyGrace},
		"to be recorded": {[]tn{nn("ab", "b", failed("b", "a")), nn("ab", "b")}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			step := Next(input(tc.nodes))
			if got := step.Wake.Sub(noon); tc.want == 0 && !step.Wake.IsZero() || tc.want != 0 && got != tc.want {
				t.Errorf("wakes at %v, want after %v", step.Wake, tc.want)
			}
		})
	}
}

// TestCountsDoNotFall: a node that was asked to switch, and has not answered yet, is still prepared and proven.
func TestCountsDoNotFall(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []change
		want    [3]int // prepared, verified, switched
	}{
		"asked":              {[]change{stale, sends("a")}, [3]int{2, 2, 1}},
		"confirmed":          {nil, [3]int{2, 2, 2}},
		"asked, then booted": {[]change{booted}, [3]int{1, 1, 1}},
		"never prepared":     {[]change{stale, sends("a"), prepared("a")}, [3]int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			step := Next(input([]tn{nn("ab", "b"), nn("ab", "b", tc.changes...)}))
			if got := [3]int{step.Prepared, step.Verified, step.Switched}; got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
