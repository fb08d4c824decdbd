package lab_test

import (
	"os"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

func stepPower(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	boot := mustExec(t, c, "n2", "cat", "/proc/sys/kernel/random/boot_id")
	for range 2 {
		if err := c.PowerOff(ctx, "n2"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("/run/netns/hs-n2"); err == nil || c.Running(lab.Agent("n2")) {
		t.Error("n2 is off and something of it runs")
	}
	if out := mustExec(t, c, "switch", "ip", "-br", "link"); strings.Contains(out, "n2") {
		t.Errorf("the cable of n2, which is off: got %s", out)
	}
	// Its Node object is an administrator's to delete.
	if got := nodeBootID(t, c, "n2"); got != strings.TrimSpace(boot) {
		t.Errorf("boot ID of n2, which is off: got %q, want the last one, %q", got, boot)
	}
	for range 2 {
		if err := c.PowerOn(ctx, "n2"); err != nil {
			t.Fatal(err)
		}
	}
	again := mustExec(t, c, "n2", "cat", "/proc/sys/kernel/random/boot_id")
	if got := nodeBootID(t, c, "n2"); again == boot || got != strings.TrimSpace(again) {
		t.Errorf("boot ID of n2: got %q, its Node object says %q; it was %q", again, got, boot)
	}
	if !c.Running(lab.Agent("n2")) {
		t.Error("the agent of n2 does not run")
	}
	if err := c.Load(ctx, "none.tar"); err == nil || !strings.Contains(err.Error(), "lab up --kubelet") {
		t.Errorf("an image for a lab without kubelets: got %v", err)
	}
	err := c.Up(ctx, lab.Options{Routed: -1, Kubelet: &lab.KubeletOptions{}})
	// Programs may be missing in this test, which is found first.
	if err == nil || !strings.Contains(err.Error(), "without kubelets") && !strings.Contains(err.Error(), "make kubelet-lab") {
		t.Errorf("up with kubelets on a lab without: got %v", err)
	}
}
