package install

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// look is what a cluster and its nodes hold: sorted lines, by where and what.
type look map[string]string

// onNode are the looks at a node. What is left out:
//   - kube-proxy's own tables, which follow Services, and the counters of rules, which follow packets
//   - neighbours that the kernel learned by itself: they come and go with any packet
//   - figures of the kernel's own below /proc/sys/net
//   - files of kubelet and containerd: images that were pulled, logs of pods that were
//   - what the kubelet makes for volumes that are not there and never removes, and where containerd keeps what it was told of
//     pods: seven folders, which have to be empty, and a lock file
var onNode = map[string]string{
	"devices":             `ip -o -d link show | sed 's/ \(qlen\|numtxqueues\|numrxqueues\|gso_max_size\|gso_max_segs\|tso_max_size\|tso_max_segs\|gro_max_size\|gso_ipv4_max_size\|gro_ipv4_max_size\) [0-9]*//g'`,
	"addresses":           `ip -o addr show`,
	"routes":              `ip -4 route show table all; ip -6 route show table all`,
	"rules":               `ip -4 rule show; ip -6 rule show`,
	"permanent neighbour": `ip neigh show nud permanent; bridge fdb show`,
	"nftables": `for table in $(nft list tables | grep -v ' kube-proxy$' | sed 's/^table //; s/ /,/'); do
	nft --stateless list table ${table%,*} ${table#*,} | sed "s/^/$table: /"; done`,
	"iptables-legacy": `iptables-legacy-save | grep -v '^#' | sed 's/\[[0-9:]*\]//'; ip6tables-legacy-save | grep -v '^#' | sed 's/\[[0-9:]*\]//'`,
	"sysctl":          `cd /proc/sys/net && find . -type f ! -name nf_conntrack_count ! -name stable_secret ! -name flush -exec grep -H -s . {} +`,
	"files": `find /etc /opt /run /usr/local /var -xdev \( -path /var/lib/kubelet -o -path /var/lib/containerd -o -path /var/log -o -path /run/containerd \) -prune -o -print 2>/dev/null |
	grep -i -e hopsack -e flannel -e cni -e xtables -e /run/netns | grep -v -x -e /run/hopsack -e /run/flannel -e /var/lib/hopsack -e /opt/cni -e /opt/cni/bin -e /run/xtables.lock -e /var/lib/cni -e /var/lib/cni/results`,
	"contents": `find /etc/cni /opt/cni /run/hopsack /run/flannel /var/lib/hopsack /var/lib/cni -type f -exec sha256sum {} + 2>/dev/null`,
	"mounts":   `awk '{print $5}' /proc/self/mountinfo | grep -i -e hopsack -e flannel -e cni -e netns`,
}

// look looks at everything. It fails when a kind goes meanwhile.
func (w *world) look(ctx context.Context) (look, error) {
	l := look{}
	for _, node := range w.nodes {
		for what, script := range onNode {
			out, err := w.Sh(ctx, node, "("+script+"); true")
			if err != nil {
				return nil, err
			}
			l[node+": "+what] = sorted(out)
		}
	}
	return l, w.objects(ctx, l)
}

// objects looks at all objects of every kind that the API server knows, by name. What is left out:
//   - events, and pods and what is made for them, which have new names every time
//   - what says of a node that it is there (kube-node-lease)
func (w *world) objects(ctx context.Context, l look) error {
	left := []string{"events", "events.events.k8s.io", "pods", "replicasets.apps", "controllerrevisions.apps", "endpointslices.discovery.k8s.io", "componentstatuses"}
	for namespaced, columns := range map[string]string{
		"true":  "KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name",
		"false": "KIND:.kind,NAME:.metadata.name,FINALIZERS:.metadata.finalizers",
	} {
		out, err := w.Kubectl(ctx, "api-resources", "--verbs=list", "-o", "name", "--cached=false", "--namespaced="+namespaced)
		if err != nil {
			return err
		}
		kinds := slices.DeleteFunc(strings.Fields(out), func(k string) bool { return slices.Contains(left, k) })
		l["kinds, namespaced "+namespaced] = sorted(strings.Join(kinds, "\n"))
		all, err := w.Kubectl(ctx, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "--no-headers", "-o", "custom-columns="+columns)
		if err != nil {
			return err
		}
		l["objects, namespaced "+namespaced] = without(sorted(all), "Lease kube-node-lease ")
	}
	// A node that is not ready has a second taint, NoExecute, which Kubernetes sets when its own pace allows it.
	nodes, err := w.Kubectl(ctx, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} labels {.metadata.labels}{"\n"}`+
		`{.metadata.name} annotations {.metadata.annotations}{"\n"}{.metadata.name} finalizers {.metadata.finalizers}{"\n"}`+
		`{.metadata.name} taints {.spec.taints[?(@.effect=="NoSchedule")].key}{"\n"}{.metadata.name} conditions {.status.conditions[*].type}{"\n"}`+
		`{.metadata.name} podCIDRs {.spec.podCIDRs}{"\n"}{end}`)
	l["nodes"] = sorted(nodes)
	return err
}

// sorted returns the lines in order, without what pads them.
func sorted(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// without returns the lines that do not begin so.
func without(text, prefix string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, prefix) }), "\n")
}

// traces returns what is in one look and not in the other, "" for nothing.
func traces(before, after look) string {
	var out strings.Builder
	for _, what := range slices.Sorted(maps.Keys(before)) {
		if before[what] == after[what] {
			continue
		}
		b, a := strings.Split(before[what], "\n"), strings.Split(after[what], "\n")
		for _, line := range b {
			if !slices.Contains(a, line) {
				out.WriteString(what + ": - " + line + "\n")
			}
		}
		for _, line := range a {
			if !slices.Contains(b, line) {
				out.WriteString(what + ": + " + line + "\n")
			}
		}
	}
	return out.String()
}

func TestTraces(t *testing.T) {
	before := look{"n1: routes": "a\nb", "n2: routes": "a"}
	after := look{"n1: routes": "b\nc", "n2: routes": "a"}
	if diff := cmp.Diff("n1: routes: - a\nn1: routes: + c\n", traces(before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// settling bounds how long what is on its way out may take: objects that a controller of Kubernetes deletes, a node's taint.
const settling = 30 * time.Second

// leavesNothing compares with what there was before, for as long as what is on its way out takes.
func (w *world) leavesNothing(t *testing.T) {
	t.Helper()
	var left string
	for deadline := time.Now().Add(settling); ; {
		now, err := w.look(t.Context())
		if err == nil {
			left = traces(w.clean, now)
		} else {
			left = err.Error()
		}
		if left == "" || time.Now().After(deadline) {
			break
		}
	}
	if left != "" {
		t.Errorf("traces (- was there before, + is there now):\n%s", left)
		return
	}
	lines := 0
	for _, text := range w.clean {
		lines += strings.Count(text, "\n") + 1
	}
	t.Logf("traces left: none, of %d lines compared in %d looks at %d nodes and the API server", lines, len(w.clean), len(w.nodes))
}
