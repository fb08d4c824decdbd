package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab"
)

func stepComponents(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	for _, name := range []string{lab.Agent("n1"), lab.Controller, lab.APIServer, lab.ETCD} {
		first, err := c.PID(name)
		if err != nil {
			t.Fatal(err)
		}
		act := c.Kill
		if name == lab.Agent("n1") || name == lab.ETCD {
			act = c.Stop
		}
		for range 2 {
			if err := act(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if c.Running(name) {
			t.Errorf("%s still runs", name)
		}
		for range 2 {
			if err := c.Start(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if second, err := c.PID(name); err != nil || second == first {
			t.Errorf("%s after its start: pid %d, %v; it was %d", name, second, err, first)
		}
	}
	if err := c.Start(ctx, lab.Agent("n9")); err == nil {
		t.Error("the agent of an unknown node was started")
	}
	if err := c.Kill(ctx, "scheduler"); err == nil || !strings.Contains(err.Error(), "agent/NODE, controller, apiserver or etcd") {
		t.Errorf("kill of an unknown component: got %v, want the names that exist", err)
	}
	if _, err := c.Kubectl(ctx, "get", "nodes"); err != nil {
		t.Errorf("API after restarts: %v", err)
	}
}

func stepNodes(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	for _, add := range []struct {
		name   string
		routed bool
	}{{"n4", false}, {"n6", true}, {"n6", true}} {
		if err := c.AddNode(ctx, add.name, add.routed); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddNode(ctx, "worker", false); err == nil {
		t.Error("a node with a name without number was added")
	}
	if _, err := c.AddPod(ctx, lab.PodSpec{Name: "far", Node: "n6", Wait: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, c, "n6", "ip", "route", "get", "172.30.0.14")
	for _, name := range []string{"n4", "n6", "n6"} {
		if err := c.DelNode(ctx, name); err != nil {
			t.Fatal(err)
		}
		err := api(t, c).Get(ctx, client.ObjectKey{Name: name}, &corev1.Node{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("Node object of %s: got %v, want it gone", name, err)
		}
	}
	if out := mustExec(t, c, "switch", "ip", "-br", "link"); strings.Contains(out, "n4") || strings.Contains(out, "br6") || strings.Contains(out, "rtr6") {
		t.Errorf("left in the switch: %s", out)
	}
	for _, name := range []string{"hs-n4", "hs-n6", "hs-pod-far"} {
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

func stepReboot(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	if _, err := c.AddPod(ctx, lab.PodSpec{Name: "short", Node: "n2", Wait: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	boot := mustExec(t, c, "n2", "cat", "/proc/sys/kernel/random/boot_id")
	if other := mustExec(t, c, "n1", "cat", "/proc/sys/kernel/random/boot_id"); other == boot {
		t.Errorf("n1 and n2 have the same boot ID %s", boot)
	}
	mustExec(t, c, "n2", "sh", "-c", "touch /run/gone /var/lib/hopsack/kept; ip link add left type bridge")
	// A node comes up without the API server, too.
	if err := c.Stop(ctx, lab.APIServer); err != nil {
		t.Fatal(err)
	}
	if err := c.RebootNode(ctx, "n2"); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx, lab.APIServer); err != nil {
		t.Fatal(err)
	}
	got := mustExec(t, c, "n2", "sh", "-c", "ls /run/gone /var/lib/hopsack/kept 2>/dev/null; ls /sys/class/net; ls /etc/cni/net.d; true")
	if want := "/var/lib/hopsack/kept\neth0\nlo\n10-stand-in.conflist\n"; got != want {
		t.Errorf("n2 after a reboot: got %q, want %q", got, want)
	}
	again := mustExec(t, c, "n2", "cat", "/proc/sys/kernel/random/boot_id")
	if again == boot {
		t.Errorf("n2 has the boot ID %s before and after", boot)
	}
	if got := nodeBootID(t, c, "n2"); got != strings.TrimSpace(again) {
		t.Errorf("Node object of n2: boot ID %q, want %q", got, again)
	}
	if err := c.RebootNode(ctx, "n2"); err != nil {
		t.Fatal(err)
	}
	if got := nodeBootID(t, c, "n2"); got == strings.TrimSpace(again) {
		t.Errorf("Node object of n2 has the boot ID %s before and after a reboot", got)
	}
	pods, err := c.Pods()
	if err != nil || len(pods) != 1 || pods[0].Name != "r" {
		t.Errorf("pods after the reboot: got %v, %v; want those of the other nodes", pods, err)
	}
}

func stepUpAgain(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	pid, err := c.PID(lab.Agent("n1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, lab.Agent("n3")); err != nil {
		t.Fatal(err)
	}
	powerOff(t, c, "n2")
	if err := c.Up(ctx, lab.Options{Nodes: 3, Routed: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lab.Agent("n3"), lab.Agent("n2")} {
		if !c.Running(name) {
			t.Errorf("up did not start %s", name)
		}
	}
	if out := mustExec(t, c, "n2", "ls", "/sys/class/net"); out != "eth0\nlo\n" {
		t.Errorf("devices of n2 after its machine was lost: got %q", out)
	}
	if again, err := c.PID(lab.Agent("n1")); err != nil || again != pid {
		t.Errorf("up replaced what ran: pid %d, %v; it was %d", again, err, pid)
	}
	if err := c.Up(ctx, lab.Options{Nodes: 5}); err == nil || !strings.Contains(err.Error(), "lab node add") {
		t.Errorf("up with another number of nodes: got %v, want a refusal that names the way", err)
	}
}

// powerOff ends a node's machine behind the lab's back, with something left in its network namespace.
func powerOff(t *testing.T, c *lab.Cluster, node string) {
	t.Helper()
	mustExec(t, c, node, "ip", "link", "add", "left", "type", "bridge")
	pid, err := c.PID("machine/" + node)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = c.Wait(t.Context(), "the machine to end", func() (bool, error) { return !c.Running(lab.Agent(node)) && !c.Running("machine/"+node), nil })
	if err != nil {
		t.Fatal(err)
	}
}

func stepAnotherLab(t *testing.T, c *lab.Cluster) {
	other := newCluster(t)
	for what, err := range map[string]error{
		"up":   other.Up(t.Context(), lab.Options{Nodes: 1}),
		"down": other.Down(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), c.Dir()) {
			t.Errorf("%s of another lab: got %v, want a refusal that names %s", what, err, c.Dir())
		}
	}
	if err := other.Kill(t.Context(), lab.ETCD); err == nil {
		t.Error("a lab that is not up killed the etcd of another")
	}
	if !c.Running(lab.ETCD) {
		t.Error("etcd is gone")
	}
}

// upEnv makes the test program start the lab whose state directory it names, and nothing else.
const upEnv = "HOPSACK_TEST_UP"

// TestDownAfterCrash kills `lab up` at many moments, and sees that Down leaves nothing each time.
func TestDownAfterCrash(t *testing.T) {
	c := newCluster(t)
	for _, after := range []time.Duration{10, 60, 150, 300, 500, 900, 2500, 4500} {
		after *= time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			t.Cleanup(func() { _ = c.Down(context.Background()) })
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
			if err := c.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, c)
			t.Logf("killed after:\n%s", out.String())
		})
	}
}

// upAlone is what the test program does with upEnv set; base is the directory that newCluster made.
func upAlone(base string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := lab.OpenConfig(lab.Config{Dir: filepath.Join(base, "state"), BinDir: filepath.Join(base, "bin"), Helper: self, Out: os.Stdout})
	if err != nil {
		return err
	}
	return c.Up(context.Background(), lab.Options{Nodes: 2, Routed: 1})
}

// nothingLeft fails the test for everything of the lab that is still there, the logs aside.
func nothingLeft(t *testing.T, c *lab.Cluster) {
	t.Helper()
	names, err := filepath.Glob("/run/netns/hs-*")
	if err != nil || len(names) > 0 {
		t.Errorf("network namespaces left: %q, %v", names, err)
	}
	if _, err := os.Stat("/run/hopsack-lab"); err == nil {
		t.Error("/run/hopsack-lab is left")
	}
	entries, _ := os.ReadDir(c.Dir())
	for _, e := range entries {
		if e.Name() != "logs" {
			t.Errorf("%s is left in the state directory", e.Name())
		}
	}
	for line := range strings.Lines(readFile(t, "/proc/self/mountinfo")) {
		if strings.Contains(line, c.Dir()) || strings.Contains(line, "/run/netns/hs-") {
			t.Errorf("mount left: %s", line)
		}
	}
	// A process that was killed needs a moment until whoever inherited it has reaped it.
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := labProcesses(filepath.Dir(c.Dir()))
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes left: %q", left)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// labProcesses returns the processes that have something of the lab in their command line.
func labProcesses(dir string) []string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		line := strings.ReplaceAll(string(raw), "\x00", " ")
		if err == nil && strings.Contains(line, dir) || strings.HasPrefix(line, os.Args[0]+" hold-node ") {
			found = append(found, fmt.Sprintf("%s %s", filepath.Dir(path), line))
		}
	}
	return found
}

// hostNetwork describes the machine's own network namespace.
func hostNetwork(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, argv := range [][]string{
		{"ip", "-br", "link"}, {"ip", "-br", "addr"}, {"ip", "route", "show", "table", "all"}, {"ip", "rule"}, {"nft", "list", "ruleset"},
		{"sh", "-c", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/rp_filter"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		fmt.Fprintf(&all, "%q: %v\n%s", argv, err, out)
	}
	return all.String()
}
