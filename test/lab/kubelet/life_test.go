package kubelet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hopsack-net/hopsack/test/lab"
)

func stepPower(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	boot := onNode(t, c, "n1", "cat /proc/sys/kernel/random/boot_id; touch /run/gone /var/kept")
	for range 2 {
		if err := c.PowerOff(ctx, "n1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{lab.Containerd("n1"), lab.Kubelet("n1"), lab.KubeProxy("n1")} {
		if c.Running(name) {
			t.Errorf("%s runs on a node that is off", name)
		}
	}
	if groups := takeSnapshot(t).cgroups; strings.Contains(strings.Join(groups, "\n")+"\n", "hs-n1\n") {
		t.Errorf("control groups of a node that is off: %q", groups)
	}
	if _, err := os.Stat("/run/netns/hs-n1"); err == nil {
		t.Error("a node that is off is on the network")
	}
	if got := kubectl(t, c, "get", "node", "n1", "-o", "name"); got != "node/n1\n" {
		t.Errorf("its Node object: got %q", got)
	}
	for range 2 {
		if err := c.PowerOn(ctx, "n1"); err != nil {
			t.Fatal(err)
		}
	}
	out := onNode(t, c, "n1", "cat /proc/sys/kernel/random/boot_id; ls /run/gone /var/kept 2>/dev/null; true")
	if strings.Contains(out, strings.TrimSpace(boot)) || !strings.Contains(out, "/var/kept") || strings.Contains(out, "/run/gone") {
		t.Errorf("n1 after a boot: got %q, its boot ID was %q", out, boot)
	}
	// The pod comes back by itself, with its image from the node's disk.
	err := c.Wait(ctx, "the pod to be restarted", func() (bool, error) {
		got, err := c.Kubectl(ctx, "get", "pod", "waiting", "-o", `jsonpath={.status.containerStatuses[0].restartCount} {.status.conditions[?(@.type=="Ready")].status}`)
		return got == "1 True", err
	})
	if err != nil {
		t.Errorf("%v\n%s", err, kubectl(t, c, "describe", "pod", "waiting"))
	}
	if err := c.PowerOff(ctx, "n9"); err == nil {
		t.Error("an unknown node was powered off")
	}
}

func stepJoin(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	for range 2 {
		if err := c.AddNode(ctx, "n4", true); err != nil {
			t.Fatal(err)
		}
	}
	if got := kubectl(t, c, "get", "node", "n4", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`); got != "172.30.4.14" {
		t.Errorf("address of n4: got %q", got)
	}
	for range 2 {
		if err := c.DelNode(ctx, "n4"); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := c.Kubectl(ctx, "get", "node", "n4"); err == nil {
		t.Errorf("n4 after it was deleted: %s", out)
	}
}

func stepComponents(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	restarts := kubectl(t, c, "get", "pod", "waiting", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
	for _, name := range []string{lab.Kubelet("n1"), lab.Containerd("n1"), lab.KubeProxy("n1"), lab.Scheduler, lab.ControllerManager, lab.APIServer} {
		if err := c.Kill(ctx, name); err != nil {
			t.Fatal(err)
		}
		if c.Running(name) {
			t.Errorf("%s still runs", name)
		}
		if err := c.Start(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Kill(ctx, lab.Agent("n1")); err == nil || !strings.Contains(err.Error(), "kubelet/NODE") {
		t.Errorf("kill of an agent, which is a pod here: got %v, want the names that exist", err)
	}
	// What containerd has forgotten, the kubelet starts again some time later.
	if raw, err := os.ReadFile(c.LogPath(lab.Containerd("n1"))); err != nil || bytes.Contains(raw, []byte("failed to load shim")) {
		t.Errorf("containerd did not find its containers again (%v)", err)
	}
	if got := kubectl(t, c, "get", "pod", "waiting", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != restarts {
		t.Errorf("restarts of the pod: got %s, want %s\n%s", got, restarts, kubectl(t, c, "describe", "pod", "waiting"))
	}
	if out, err := c.Exec(ctx, "n1", "curl", "-s", "-m", "3", "http://"+podIP(t, c, "waiting")+":8080/hostname"); err != nil || out != "waiting" {
		t.Errorf("the pod after its kubelet and containerd were killed: got %q, %v", out, err)
	}
}

// TestFailedUp starts a lab whose kubelets end at once: Up says why, and Down leaves nothing.
func TestFailedUp(t *testing.T) {
	before := takeSnapshot(t)
	c := newCluster(t)
	broken := filepath.Join(binDir(c), "kubelet", "kubelet")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho this kubelet is broken\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := c.Up(within(t, time.Minute), lab.Options{Nodes: 2, Routed: 1, Kubelet: &lab.KubeletOptions{}})
	if err == nil || !strings.Contains(err.Error(), "this kubelet is broken") {
		t.Errorf("got %v, want what the kubelet said", err)
	}
	if err := c.Down(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c, before)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	err = c.Up(within(t, time.Minute), lab.Options{Nodes: 1, Kubelet: &lab.KubeletOptions{}})
	if err == nil || !strings.Contains(err.Error(), "make kubelet-lab") {
		t.Errorf("without a kubelet: got %v, want how to build it", err)
	}
}

// TestDownAfterCrash kills `lab up` at many moments, and sees that Down leaves nothing each time.
func TestDownAfterCrash(t *testing.T) {
	before := takeSnapshot(t)
	c := newCluster(t)
	for _, after := range []time.Duration{150, 300, 600, 1500, 4000, 7000} {
		after *= time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), upEnv+"="+filepath.Dir(c.Dir()))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if err := c.Down(within(t, time.Minute)); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, c, before)
			t.Logf("killed after:\n%s", out.String())
		})
	}
}
