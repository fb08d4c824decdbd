package install

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// capabilityNames are those of capabilities(7) by number, as far as anything here could have them.
var capabilityNames = map[int]string{1: "DAC_OVERRIDE", 12: "NET_ADMIN", 13: "NET_RAW", 16: "SYS_MODULE", 21: "SYS_ADMIN"}

// rights are what the kernel says of a process.
type rights struct {
	UID                                  string
	Effective, Permitted, Bound, Ambient string
	NoNewPrivs, Seccomp                  string
	// Root is how the process's root is mounted.
	Root string
}

// rightsOf reads the rights of the process of a program on a node.
func (w *world) rightsOf(t *testing.T, node, program string) rights {
	t.Helper()
	text := w.sh(t, node, `for p in /proc/[0-9]*; do [ "$(tr '\0' '\n' <$p/cmdline | head -1)" = `+program+` ] || continue
		cat $p/status; awk '$5 == "/" {print "Root:", substr($6, 1, 2)}' $p/mountinfo; done`)
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			if _, twice := fields[key]; twice {
				t.Fatalf("%s: there are several %s", node, program)
			}
			fields[key] = strings.TrimSpace(value)
		}
	}
	uid, _, _ := strings.Cut(fields["Uid"], "\t")
	set := func(key string) string {
		n, err := strconv.ParseUint(fields[key], 16, 64)
		if err != nil {
			t.Fatalf("%s: %s of %s: %v", node, key, program, err)
		}
		var names []string
		for ; n != 0; n &= n - 1 {
			bit := bits.TrailingZeros64(n)
			name, ok := capabilityNames[bit]
			if !ok {
				name = fmt.Sprint(bit)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	return rights{uid, set("CapEff"), set("CapPrm"), set("CapBnd"), set("CapAmb"), fields["NoNewPrivs"], fields["Seccomp"], fields["Root"]}
}

// containersMay compares what the real containers may do with what the manifests ask for.
func (w *world) containersMay(t *testing.T, s site) {
	t.Helper()
	granted := strings.Fields(w.kubectl(t, "get", "daemonset", "--namespace", s.namespace, s.name("hopsack-agent"),
		"-o", `jsonpath={.spec.template.spec.containers[?(@.name=="agent")].securityContext.capabilities.add[*]}`))
	slices.Sort(granted)
	agents := strings.Join(granted, " ")
	var table strings.Builder
	check := func(node, program string, want rights) {
		t.Helper()
		got := w.rightsOf(t, node, program)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s on %s (-want +got):\n%s", program, node, diff)
		}
		fmt.Fprintf(&table, "%-18s on %s: uid %s, capabilities %q, bounding set %q, no_new_privs %s, seccomp mode %s, root %s\n",
			program, node, got.UID, got.Effective, got.Bound, got.NoNewPrivs, got.Seccomp, got.Root)
	}
	for _, node := range w.nodes {
		check(node, "hopsack-agent", rights{"0", agents, agents, agents, "", "1", "2", "ro"})
	}
	for _, node := range w.controllers(t, s) {
		check(node, "hopsack-controller", rights{UID: "65532", NoNewPrivs: "1", Seccomp: "2", Root: "ro"})
	}
	t.Log("the real containers:\n" + table.String())
}

// controllers are the nodes on which controllers run.
func (w *world) controllers(t *testing.T, s site) []string {
	t.Helper()
	return strings.Fields(w.kubectl(t, "get", "pods", "--namespace", s.namespace, "--selector=app.kubernetes.io/component=controller",
		"-o", "jsonpath={.items[*].spec.nodeName}"))
}
