package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
)

// moving is a status in the middle of a rollout to bbbb2222.
func moving(phase v1alpha1.RolloutPhase, verified, switched int32, waiting ...string) func(*v1alpha1.NetworkConfig) {
	return func(c *v1alpha1.NetworkConfig) {
		settled("aaaa1111")(c)
		s := &c.Status
		s.TargetRevision = "bbbb2222"
		s.Nodes.Verified, s.Nodes.Switched = verified, switched
		s.Rollout = &v1alpha1.RolloutStatus{Generation: c.Generation, Phase: phase, Source: "aaaa1111", Target: "bbbb2222",
			WaitingFor: waiting, WaitingCount: int32(len(waiting))}
		s.Conditions = conditions(c.Generation, "False", "RollingOut", "a change is under way", "True", "RollingOut", "False", "NotStalled")
	}
}

// stalled is a status in which verification fails between two nodes.
func stalled(c *v1alpha1.NetworkConfig) {
	moving(v1alpha1.PhaseVerifying, 1, 0, "n2")(c)
	c.Status.FailingPairs = []v1alpha1.NodePair{{From: "n1", To: "n2", Reason: "NoAnswer", Message: "no answer over UDP 4789 from 172.30.0.12"}}
	c.Status.FailingPairCount = 1
	c.Status.Conditions = conditions(c.Generation, "False", "VerificationFailed", "1 pair of nodes cannot talk", "False", "VerificationFailed",
		"True", "VerificationFailed")
}

func useHostGW(c *v1alpha1.NetworkConfig) {
	c.Spec.Backend = v1alpha1.Backend{Type: v1alpha1.BackendHostGW}
}

// TestRolloutStatusFollows: nothing is reported of the generation before; lines come when something happens, once each.
func TestRolloutStatusFollows(t *testing.T) {
	empty(t)
	network(t)
	respec(t, useHostGW) // the controller has not seen it: status still says that all is well
	r := start(t, "rollout", "status", "--timeout", "1m")
	r.until("waiting for the controller to take up generation 2 (it has seen 1)")
	report(t, moving(v1alpha1.PhaseVerifying, 1, 0, "n2", "n3"))
	r.until("waiting for n2, n3")
	report(t, func(c *v1alpha1.NetworkConfig) { c.Status.Subnets.Free = 7 }) // no news
	report(t, moving(v1alpha1.PhaseSwitching, 3, 1, "n2"))
	r.until("1 switched")
	report(t, settled("bbbb2222"))
	if code := r.wait(); code != cli.ExitOK {
		t.Errorf("exit code: got %d, want 0; %s", code, r.errOut)
	}
	want := []string{
		"waiting for the controller to take up generation 2 (it has seen 1)",
		"revision bbbb2222: verifying: 3 prepared, 1 verified, 0 switched of 3 live nodes; waiting for n2, n3",
		"revision bbbb2222: switching: 3 prepared, 3 verified, 1 switched of 3 live nodes; waiting for n2",
		"completed: every node sends with revision bbbb2222",
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(r.out.String()), "\n")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// TestRolloutStatusExitCodes: the exit code says how it ended.
func TestRolloutStatusExitCodes(t *testing.T) {
	held := func(c *v1alpha1.NetworkConfig) {
		moving(v1alpha1.PhaseSwitching, 3, 1)(c)
		c.Status.Rollout.Paused = true
	}
	rolledBack := func(c *v1alpha1.NetworkConfig) {
		settled("aaaa1111")(c)
		c.Status.Conditions = conditions(c.Generation, "False", "RolledBack", "n2 could not reach n1", "False", "RolledBack", "True", "RolledBack")
	}
	tests := map[string]struct {
		status func(*v1alpha1.NetworkConfig)
		args   []string
		code   int
		out    string
	}{
		"completed":                {settled("bbbb2222"), nil, cli.ExitOK, "completed: every node sends with revision bbbb2222"},
		"refused":                  {refused, nil, cli.ExitFailed, "stalled (InvalidSpec): spec.subnetMin"},
		"rolled back":              {rolledBack, nil, cli.ExitFailed, "stalled (RolledBack): n2 could not reach n1"},
		"stalled for long":         {stalled, []string{"--stall-patience", "300ms"}, cli.ExitFailed, "  n1 -> n2: no answer over UDP 4789 from 172.30.0.12"},
		"stalled, not yet serious": {stalled, []string{"--timeout", "500ms"}, cli.ExitTimeout, "stalled (VerificationFailed)"},
		"paused":                   {held, nil, cli.ExitPaused, "paused: revision bbbb2222: switching"},
		"timeout":                  {moving(v1alpha1.PhaseSwitching, 3, 1), []string{"--timeout", "500ms"}, cli.ExitTimeout, "switching"},
		"now, under way":           {moving(v1alpha1.PhaseSwitching, 3, 1), []string{"--watch=false"}, cli.ExitTimeout, "switching"},
		"now, completed":           {settled("bbbb2222"), []string{"--watch=false"}, cli.ExitOK, "completed"},
		"now, stalled":             {stalled, []string{"--watch=false"}, cli.ExitFailed, "stalled"},
		"its revision":             {settled("bbbb2222"), []string{"--revision", "bbbb"}, cli.ExitOK, "completed"},
		"its revision, only tried": {tried, []string{"--revision", "bbbb2222"}, cli.ExitOK, "verified: revision bbbb2222 works"},
		"another revision":         {settled("bbbb2222"), []string{"--revision", "aaaa1111"}, cli.ExitFailed, ""},
		"bad flag":                 {settled("bbbb2222"), []string{"--timeout", "-1s"}, cli.ExitError, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			empty(t)
			network(t)
			report(t, tt.status)
			out, errOut, code := runToEnd(t, append([]string{"rollout", "status"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.out) {
				t.Errorf("got %d, want %d; output, want %q:\n%s%s", code, tt.code, tt.out, out, errOut)
			}
			if code != cli.ExitOK && !strings.HasPrefix(errOut, "error: ") {
				t.Errorf("standard error: got %q, want an error", errOut)
			}
		})
	}
}

func refused(c *v1alpha1.NetworkConfig) {
	settled("aaaa1111")(c)
	c.Status.Conditions = conditions(c.Generation, "False", "InvalidSpec", "spec.subnetMin is after spec.subnetMax", "False", "Refused", "True", "InvalidSpec")
}

// tried is the end of a change with strategy VerifyOnly.
func tried(c *v1alpha1.NetworkConfig) {
	settled("aaaa1111")(c)
	c.Status.Rollout.Target, c.Status.Rollout.Verified = "bbbb2222", true
	c.Status.Conditions = conditions(c.Generation, "True", "Verified", "revision bbbb2222 was proven", "False", "Verified", "False", "NotStalled")
}

// TestStallPasses: a stall that ends in time is no failure.
func TestStallPasses(t *testing.T) {
	empty(t)
	network(t)
	report(t, stalled)
	r := start(t, "rollout", "status", "--stall-patience", "30s")
	r.until("stalled (VerificationFailed)")
	report(t, moving(v1alpha1.PhaseSwitching, 3, 1))
	r.until("switching")
	report(t, settled("bbbb2222"))
	if code := r.wait(); code != cli.ExitOK {
		t.Errorf("exit code: got %d, want 0; %s%s", code, r.out, r.errOut)
	}
}

func TestPauseResumeRetry(t *testing.T) {
	empty(t)
	network(t)
	annotation := func(key string) string { return current(t).Annotations[key] }

	if out, errOut, code := runToEnd(t, "rollout", "pause", "--dry-run=server"); code != 0 || out != "networkconfig/default paused (server dry run)\n" || annotation(v1alpha1.PausedAnnotation) != "" {
		t.Errorf("pause --dry-run=server: got %d %q %q, annotation %q", code, out, errOut, annotation(v1alpha1.PausedAnnotation))
	}
	if out, errOut, code := runToEnd(t, "rollout", "pause"); code != 0 || out != "networkconfig/default paused\n" || annotation(v1alpha1.PausedAnnotation) != "true" {
		t.Errorf("pause: got %d %q %q, annotation %q", code, out, errOut, annotation(v1alpha1.PausedAnnotation))
	}
	for _, f := range current(t).ManagedFields {
		if strings.HasPrefix(f.Manager, "kubectl") {
			t.Errorf("pause wrote as %s: Flux takes back what is written under a name that begins with kubectl", f.Manager)
		}
	}
	if out, _, code := runToEnd(t, "rollout", "pause"); code != 0 || out != "networkconfig/default paused already\n" {
		t.Errorf("pause again: got %d %q", code, out)
	}
	if out, _, code := runToEnd(t, "rollout", "resume"); code != 0 || out != "networkconfig/default resumed\n" || annotation(v1alpha1.PausedAnnotation) != "" {
		t.Errorf("resume: got %d %q", code, out)
	}
	if _, errOut, code := runToEnd(t, "rollout", "retry"); code != cli.ExitError || !strings.Contains(errOut, "generation 1 has not failed") {
		t.Errorf("retry of what has not failed: got %d %q", code, errOut)
	}
	report(t, func(c *v1alpha1.NetworkConfig) {
		c.Status.Rollout.Failure = &v1alpha1.RolloutFailure{Generation: c.Generation, Revision: "bbbb2222", Node: "n2"}
	})
	first := ""
	for range 2 {
		if _, errOut, code := runToEnd(t, "rollout", "retry"); code != 0 || annotation(v1alpha1.RetryAnnotation) == first {
			t.Errorf("retry: got %d %q, annotation %q, was %q", code, errOut, annotation(v1alpha1.RetryAnnotation), first)
		}
		first = annotation(v1alpha1.RetryAnnotation)
	}
	if g := current(t).Generation; g != 1 {
		t.Errorf("generation: got %d, want 1: annotations must not count as a new spec", g)
	}
}

// record is a history entry.
func record(revision string, outcome v1alpha1.RevisionOutcome, backend v1alpha1.Backend, mtu int32) v1alpha1.RevisionRecord {
	at := metav1.NewTime(time.Now().Add(-time.Hour))
	return v1alpha1.RevisionRecord{Revision: revision, Generation: 1, Outcome: outcome, Backend: backend, MTU: mtu, StartedAt: &at, EndedAt: &at}
}

func TestUndo(t *testing.T) {
	empty(t)
	network(t, func(c *v1alpha1.NetworkConfig) {
		useHostGW(c)
		c.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "net", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
	})
	if _, errOut, code := runToEnd(t, "rollout", "undo"); code != cli.ExitError || !strings.Contains(errOut, "there is nothing to go back to") {
		t.Errorf("undo without history: got %d %q", code, errOut)
	}
	vxlan := v1alpha1.Backend{Type: v1alpha1.BackendVXLAN, VXLAN: &v1alpha1.VXLANBackend{VNI: new(int32(7)), Port: new(int32(4789)), DirectRouting: "Never"}}
	report(t, func(c *v1alpha1.NetworkConfig) {
		c.Status.History = []v1alpha1.RevisionRecord{
			record("cccc3333", v1alpha1.OutcomeCompleted, v1alpha1.Backend{Type: v1alpha1.BackendHostGW}, 0),
			record("dddd4444", v1alpha1.OutcomeFailed, v1alpha1.Backend{Type: v1alpha1.BackendUDP}, 0),
			record("aaaa1111", v1alpha1.OutcomeCompleted, vxlan, 1400),
		}
	})
	for args, want := range map[string]string{
		"--to-revision=eeee": `--to-revision "eeee": there is no such revision`,
		"--to-revision=cccc": `--to-revision "cccc": that is what the spec asks for`,
		"--dry-run=maybe":    `--dry-run: "maybe" is not one of none, server, client`,
	} {
		if _, errOut, code := runToEnd(t, "rollout", "undo", args); code != cli.ExitError || !strings.Contains(errOut, want) {
			t.Errorf("undo %s: got %d %q, want %q", args, code, errOut, want)
		}
	}
	out, errOut, code := runToEnd(t, "rollout", "undo", "--dry-run=server")
	if code != 0 || current(t).Spec.Backend.Type != v1alpha1.BackendHostGW {
		t.Errorf("undo --dry-run=server: got %d %q %q, backend %s", code, out, errOut, current(t).Spec.Backend.Type)
	}
	out, errOut, code = runToEnd(t, "rollout", "undo")
	if want := "networkconfig/default goes back to revision aaaa1111: vxlan vni 7 port 4789 directRouting Never, MTU 1400\n"; code != 0 || out != want {
		t.Errorf("undo: got %d %q %q, want %q", code, out, errOut, want)
	}
	if !strings.Contains(errOut, "Flux (Kustomization flux-system/net), which will put its own version back") {
		t.Errorf("undo of what Flux manages: got %q", errOut)
	}
	got := current(t).Spec
	if diff := cmp.Diff(v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", Backend: vxlan, MTU: new(int32(1400))}, got); diff != "" {
		t.Errorf("spec after undo (-want +got):\n%s", diff)
	}
	if out, _, code := runToEnd(t, "rollout", "history"); code != 0 || !strings.Contains(out, "dddd4444   1            udp") {
		t.Errorf("history: got %d:\n%s", code, out)
	}
}

// TestUndoIsTakenBackByGit: a tool that applies on the server's side gets its own backend back, and no mixture of two types.
func TestUndoIsTakenBackByGit(t *testing.T) {
	empty(t)
	git := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NetworkConfig", "metadata": map[string]any{"name": "default"},
		"spec": map[string]any{"network": "10.244.0.0/16", "backend": map[string]any{"type": "udp", "udp": map[string]any{"port": int64(8285)}}},
	}}
	sync := func() {
		t.Helper()
		err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(git.DeepCopy()), client.ForceOwnership, client.FieldOwner("kustomize-controller"))
		if err != nil {
			t.Fatal(err)
		}
	}
	sync()
	report(t, func(c *v1alpha1.NetworkConfig) {
		c.Status.History = []v1alpha1.RevisionRecord{record("aaaa1111", v1alpha1.OutcomeCompleted, vxlanPort(4789), 0)}
	})
	if _, errOut, code := runToEnd(t, "rollout", "undo"); code != 0 {
		t.Fatalf("undo: got %d %q", code, errOut)
	}
	if got := current(t).Spec.Backend; got.UDP != nil || got.VXLAN == nil {
		t.Errorf("backend after undo: got %+v", got)
	}
	sync()
	if got := current(t).Spec.Backend; got.Type != v1alpha1.BackendUDP || got.VXLAN != nil || got.UDP == nil {
		t.Errorf("backend after git was applied again: got %+v", got)
	}
}

// runToEnd is run with its outputs read after it has ended.
func runToEnd(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	r := start(t, args...)
	code = r.wait()
	return r.out.String(), r.errOut.String(), code
}
