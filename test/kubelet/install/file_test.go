package install

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fromOneFile installs install.yaml, deletes it in the wrong order and by force under pods that talk, and recovers as
// docs/uninstall.md says.
func fromOneFile(t *testing.T, w *world) {
	s := site{namespace: "hopsack-system"}
	file := w.installYAML(t)
	w.withNames(t)
	w.kubectl(t, "apply", "--server-side", "-f", file)
	w.network(t)
	t.Run("rights", func(t *testing.T) { w.confined(t, s) })

	over := w.talk(t, "p1", "p3")
	t.Run("deleted first", func(t *testing.T) {
		w.soon(t, "the API server to know what keeps the CRDs", func() (bool, error) {
			_, err := w.Kubectl(t.Context(), "delete", "crd", "networkconfigs.net.hopsack.dev", "--dry-run=server")
			if err != nil && strings.Contains(err.Error(), "networkconfig default exists") {
				return true, nil
			}
			return false, err
		})
		out, err := w.within(t, time.Minute, "delete", "-f", file)
		if err == nil || !strings.Contains(err.Error(), "networkconfig default exists") {
			t.Errorf("deleted under a network: %v: %s", err, out)
		}
		w.gone(t, s)
		w.allTalk(t)
		w.kubectl(t, "apply", "--server-side", "-f", file)
		w.back(t, s)
		w.allTalk(t)
	})
	t.Run("deleted by force", func(t *testing.T) {
		_, _ = w.within(t, time.Minute, "delete", "-f", file) // takes the policy that refuses it
		w.gone(t, s)
		out, err := w.within(t, time.Minute, "delete", "-f", file, "--ignore-not-found", "--timeout=3s")
		if err == nil || !strings.Contains(err.Error(), "timed out") {
			t.Errorf("deleted for good under a network: %v: %s", err, out)
		}
		w.allTalk(t)
		if lost := over(); lost != "0% packet loss" {
			t.Errorf("p1 to p3: %s while everything around them was deleted", lost)
		}
		w.withoutPods(t)
		w.kubectl(t, "apply", "--server-side", "-f", file)
		t.Log(w.kubectl(t, "hopsack", "uninstall", "--yes", "--crds"))
	})
	w.leavesNothing(t)
}

// installYAML makes the file that users apply.
func (w *world) installYAML(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "install.yaml")
	cmd := exec.CommandContext(t.Context(), "go", "run", "./hack/chart", "-chart", filepath.Join(dir, "chart"), "-install", file)
	cmd.Dir = w.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install.yaml: %v: %s", err, out)
	}
	return file
}

// within runs kubectl, for no longer than it may take.
func (w *world) within(t *testing.T, limit time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := w.Kubectl(ctx, args...)
	if ctx.Err() != nil {
		t.Fatalf("kubectl %s hangs: %v: %s", strings.Join(args, " "), err, out)
	}
	return out, err
}

// gone waits until the programs and their namespace are gone.
func (w *world) gone(t *testing.T, s site) {
	t.Helper()
	w.kubectl(t, "wait", "--for=delete", "namespace/"+s.namespace, "--timeout=1m")
}

// back waits until controllers and agents are there again.
func (w *world) back(t *testing.T, s site) {
	t.Helper()
	for _, of := range []string{"deployment/hopsack-controller", "daemonset/hopsack-agent"} {
		w.kubectl(t, "rollout", "status", "--namespace", s.namespace, of, "--timeout=2m")
	}
	if err := w.AwaitNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// talk has one pod ping another until the returned function is called, which says how much was lost.
func (w *world) talk(t *testing.T, from, to string) func() string {
	t.Helper()
	ip, err := w.PodIP(to)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	// Whoever waits for answers longer than they take on a busy machine loses none of them to the clock.
	cmd := exec.Command("ping", "-q", "-i", "0.05", "-W", "30", ip.String())
	cmd.Stdout = &out
	if err := w.StartIn(from, cmd); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() string {
		if ended {
			return ""
		}
		ended = true
		_ = cmd.Process.Signal(syscall.SIGINT) // after which it counts
		_ = cmd.Wait()
		for line := range strings.Lines(out.String()) {
			if _, counts, ok := strings.Cut(line, " received, "); ok {
				t.Log(strings.TrimSpace(line))
				lost, _, _ := strings.Cut(counts, ",")
				return lost
			}
		}
		return "no answer: " + out.String()
	}
	t.Cleanup(func() { end() })
	return end
}
