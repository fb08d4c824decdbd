package manifests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// granted are the capabilities of a container of the agent's DaemonSet.
func granted(t *testing.T, container string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "agent", "daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var ds appsv1.DaemonSet
	if err := yaml.UnmarshalStrict(data, &ds); err != nil {
		t.Fatal(err)
	}
	pod := ds.Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s == nil || s.Privileged != nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
			s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s may gain rights, write its root or has more than it adds: %+v", c.Name, s)
		}
		if c.Name == container {
			var out []string
			for _, added := range s.Capabilities.Add {
				out = append(out, strings.ToLower(string(added)))
			}
			return out
		}
	}
	t.Fatalf("the DaemonSet has no container %s", container)
	return nil
}

// what the agent does that takes a capability. Each is done in a network namespace of its own. The last column is what it takes.
var deeds = []struct {
	name    string
	command string
	takes   []string
}{
	{"plugins in another user's folder", "mktemp -p $FOLDER", []string{"dac_override"}},
	{"a tunnel", "ip link add hsx type vxlan id 9 dstport 9999", []string{"net_admin"}},
	{"a TUN device", "ip tuntap add dev hst mode tun", []string{"net_admin"}},
	{"routes", "ip route add 10.9.0.0/16 dev lo proto 104", []string{"net_admin"}},
	{"rules of nftables", "nft add table inet hopsack", []string{"net_admin"}},
	{"rules of iptables-nft", "iptables-nft -A FORWARD -m comment --comment hopsack -j ACCEPT", []string{"net_admin"}},
	{"rules of iptables-legacy", "iptables-legacy -A FORWARD -m comment --comment hopsack -j ACCEPT", []string{"net_admin", "net_raw"}},
	{"forwarding", "echo 1 >/proc/sys/net/ipv4/ip_forward", []string{"net_admin"}},
	{"the probe's namespace", "unshare --net true", []string{"sys_admin"}},
	{"entering a pod's namespace", "nsenter --net=/proc/self/ns/net true", []string{"sys_admin"}},
}

// can does a deed with these capabilities only.
func can(t *testing.T, command string, capabilities []string) bool {
	t.Helper()
	bound := "-all"
	for _, c := range capabilities {
		bound += ",+" + c
	}
	out, err := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh",
		"setpriv", "--no-new-privs", "--bounding-set="+bound, "sh", "-ec", command).CombinedOutput()
	t.Logf("with %v: %v: %s", capabilities, err, out)
	return err == nil
}

func TestEachCapabilityOfTheAgentIsNeeded(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test takes root")
	}
	all := granted(t, "agent")
	folder := t.TempDir()
	if err := os.Chown(folder, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FOLDER", folder)
	needed := map[string]bool{}
	var table strings.Builder
	fmt.Fprintf(&table, "%-36s %-12s", "without", "nothing")
	for _, c := range all {
		fmt.Fprintf(&table, " %-12s", c)
	}
	for _, deed := range deeds {
		t.Run(deed.name, func(t *testing.T) {
			works := map[bool]string{true: "works", false: "fails"}
			with := can(t, deed.command, all)
			if !with {
				t.Errorf("the agent's capabilities %v are not enough", all)
			}
			fmt.Fprintf(&table, "\n%-36s %-12s", deed.name, works[with])
			for _, c := range all {
				rest := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == c })
				without := can(t, deed.command, rest)
				if without == slices.Contains(deed.takes, c) {
					t.Errorf("without %s: got %v", c, without)
				} else if !without {
					needed[c] = true
				}
				fmt.Fprintf(&table, " %-12s", works[without])
			}
		})
	}
	t.Log("the agent's capabilities, each taken away in turn:\n" + table.String())
	for _, c := range all {
		if !needed[c] {
			t.Errorf("nothing needs %s", c)
		}
	}
}

// Plugins go into a folder that may belong to another user than root: that is all the step before the agent may do.
func TestCapabilitiesOfTheInstallation(t *testing.T) {
	if got := granted(t, "install-cni"); !slices.Equal(got, []string{"dac_override"}) {
		t.Errorf("got %v", got)
	}
}
