package lab_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/lab"
)

// TestLab walks through the life of one lab. The steps build on each other, because starting a cluster for each of them
// would take minutes.
func TestLab(t *testing.T) {
	c := newCluster(t)
	before := hostNetwork(t)
	down := func() {
		if err := c.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
		nothingLeft(t, c)
	}
	t.Cleanup(down)
	start := time.Now()
	if err := c.Up(t.Context(), lab.Options{Nodes: 3, Routed: 1}); err != nil {
		t.Fatal(err)
	}
	t.Logf("up took %.1f s", time.Since(start).Seconds())
	for _, step := range []struct {
		name string
		run  func(*testing.T, *lab.Cluster)
	}{
		{"everything runs", stepStatus},
		{"underlay", stepUnderlay},
		{"node is a machine of its own", stepIsolation},
		{"credentials", stepCredentials},
		{"pods", stepPods},
		{"host port", stepHostPort},
		{"components", stepComponents},
		{"nodes come and go", stepNodes},
		{"reboot", stepReboot},
		{"power", stepPower},
		{"pause", stepPause},
		{"cut", stepCut},
		{"node ready", stepNodeReady},
		{"delay", stepDelay},
		{"up again", stepUpAgain},
		{"another lab", stepAnotherLab},
		{"network that never gets ready", stepNotReady},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c) }) {
			t.FailNow()
		}
	}
	if diff := cmp.Diff(before, hostNetwork(t)); diff != "" {
		t.Errorf("the machine's own network changed (-before +now):\n%s", diff)
	}
	down()
	if err := c.Down(t.Context()); err != nil {
		t.Errorf("down when nothing is up: %v", err)
	}
}

func stepStatus(t *testing.T, c *lab.Cluster) {
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !st.Up || st.Owner != c.Dir() {
		t.Errorf("got up=%t, owner %q; want the lab of %s", st.Up, st.Owner, c.Dir())
	}
	var running []string
	for _, comp := range st.Components {
		if comp.PID > 0 {
			running = append(running, comp.Name)
		}
	}
	want := []string{"etcd", "apiserver", "controller", "agent/n1", "agent/n2", "agent/n3"}
	if diff := cmp.Diff(want, running); diff != "" {
		t.Errorf("running components (-want +got):\n%s", diff)
	}
	var nodes corev1.NodeList
	if err := api(t, c).List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				got[n.Name+" "+n.Labels[corev1.LabelHostname]] = a.Address
			}
		}
	}
	wantNodes := map[string]string{"n1 n1": "172.30.0.11", "n2 n2": "172.30.0.12", "n3 n3": "172.30.3.13"}
	if diff := cmp.Diff(wantNodes, got); diff != "" {
		t.Errorf("Node objects (-want +got):\n%s", diff)
	}
}

// stepUnderlay checks that every place reaches every other.
func stepUnderlay(t *testing.T, c *lab.Cluster) {
	places := []string{"n1", "n2", "n3", "client", "cp"}
	for _, to := range places {
		path, addr := place(t, c, to)
		serve(t, path, netip.AddrPortFrom(addr, 7001))
		for _, from := range places {
			path, _ := place(t, c, from)
			if err := dial(path, netip.AddrPortFrom(addr, 7001)); err != nil {
				t.Errorf("%s to %s: %v", from, to, err)
			}
		}
	}
	out := mustExec(t, c, "n3", "ip", "route", "get", "172.30.0.11")
	if !strings.Contains(out, "via 172.30.3.1 ") {
		t.Errorf("route from n3 to n1: got %q, want it through the router", out)
	}
}

func stepIsolation(t *testing.T, c *lab.Cluster) {
	if got := strings.TrimSpace(mustExec(t, c, "n1", "hostname")); got != "n1" {
		t.Errorf("host name: got %q, want n1", got)
	}
	// What the agent has to turn on must not be on already (the machine's own value is what new namespaces start with).
	host := readFile(t, "/proc/sys/net/ipv4/ip_forward")
	if got := mustExec(t, c, "n1", "cat", "/proc/sys/net/ipv4/ip_forward"); got != host {
		t.Errorf("ip_forward of n1: got %q, want the kernel's %q", got, host)
	}
	if got := strings.Fields(mustExec(t, c, "n1", "ls", "/sys/class/net")); !slices.Equal(got, []string{"eth0", "lo"}) {
		t.Errorf("/sys/class/net of n1: got %q", got)
	}
	mustExec(t, c, "n1", "sh", "-c", "mkdir -p /run/x /var/lib/hopsack/x && touch /run/xtables.lock")
	for _, path := range []string{"/run/x", "/var/lib/hopsack/x"} {
		if out, err := c.Exec(t.Context(), "n2", "ls", path); err == nil {
			t.Errorf("n2 sees %s of n1: %s", path, out)
		}
	}
	if _, err := os.Stat("/run/x"); err == nil {
		t.Error("the machine itself sees /run/x of n1")
	}
	ps := mustExec(t, c, "n1", "sh", "-c", "cat /proc/[0-9]*/comm")
	if strings.Contains(ps, "etcd") || !strings.Contains(ps, "hopsack-agent") {
		t.Errorf("processes seen on n1: %q", ps)
	}
}

// stepCredentials checks that an agent's token says who it is and on which node it runs.
func stepCredentials(t *testing.T, c *lab.Cluster) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Credentials(lab.Agent("n2")))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dial = admin.Dial
	scheme, err := lab.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	var review authenticationv1.SelfSubjectReview
	if err := agent.Create(t.Context(), &review); err != nil {
		t.Fatal(err)
	}
	user := review.Status.UserInfo
	if want := "system:serviceaccount:hopsack-system:hopsack-agent"; user.Username != want {
		t.Errorf("user: got %s, want %s", user.Username, want)
	}
	if got := user.Extra["authentication.kubernetes.io/node-name"]; !slices.Equal(got, []string{"n2"}) {
		t.Errorf("node name in the token: got %q, want n2", got)
	}
	if err := agent.List(t.Context(), &corev1.SecretList{}); err == nil {
		t.Error("an agent may list secrets")
	}
}

func stepPods(t *testing.T, c *lab.Cluster) {
	group, ctx := errgroup.WithContext(t.Context())
	for pod, node := range map[string]string{"a": "n1", "b": "n1", "r": "n3"} {
		group.Go(func() error {
			_, err := c.AddPod(ctx, lab.PodSpec{Name: pod, Node: node, Wait: 10 * time.Second})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	first, err := c.PodIP("a")
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.AddPod(t.Context(), lab.PodSpec{Name: "a", Node: "n1"})
	if err != nil || !slices.Equal(again.IPs, []netip.Addr{first}) {
		t.Errorf("adding a again: got %v, %v; want it as it is, %v", again.IPs, err, first)
	}
	path, addr := place(t, c, "b")
	if !netip.MustParsePrefix("10.244.1.0/24").Contains(addr) {
		t.Errorf("address of b: got %s, want one of n1's", addr)
	}
	serve(t, path, netip.AddrPortFrom(addr, 80))
	from, _ := place(t, c, "a")
	if err := dial(from, netip.AddrPortFrom(addr, 80)); err != nil {
		t.Errorf("a to b: %v", err)
	}
	if out := mustExec(t, c, "a", "sh", "-c", "ls /sys/class/net; ip -br addr show dev lo"); !strings.HasPrefix(out, "eth0\nlo\n") || !strings.Contains(out, "127.0.0.1/8") {
		t.Errorf("devices of a: got %q", out)
	}
	if err := c.CheckPod(t.Context(), "a"); err != nil {
		t.Errorf("check: %v", err)
	}
	for _, name := range []string{"a", "b", "a"} {
		if err := c.DelPod(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	pods, err := c.Pods()
	if err != nil || len(pods) != 1 || pods[0].Name != "r" {
		t.Errorf("pods left: got %v, %v; want r", pods, err)
	}
	if out := mustExec(t, c, "n1", "sh", "-c", "ls /run/netns; ls /run/ipam/stand-in | grep ^10; true"); out != "" {
		t.Errorf("left on n1 after its pods: %q", out)
	}
	for _, bad := range []lab.PodSpec{{Name: "n7", Node: "n1"}, {Name: "client", Node: "n1"}, {Name: "A", Node: "n1"}, {Name: "x", Node: "n9"}, {Name: "r", Node: "n1"}} {
		if _, err := c.AddPod(t.Context(), bad); err == nil {
			t.Errorf("pod %s on %s was added", bad.Name, bad.Node)
		}
	}
}

func stepHostPort(t *testing.T, c *lab.Cluster) {
	ports := []lab.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
	if _, err := c.AddPod(t.Context(), lab.PodSpec{Name: "web", Node: "n1", HostPorts: ports}); err != nil {
		t.Fatal(err)
	}
	path, addr := place(t, c, "web")
	serve(t, path, netip.AddrPortFrom(addr, 80))
	// Forwarding is the agent's to turn on; the stand-in does not.
	mustExec(t, c, "n1", "sysctl", "-qw", "net.ipv4.ip_forward=1")
	client, _ := place(t, c, "client")
	_, node := place(t, c, "n1")
	if err := dial(client, netip.AddrPortFrom(node, 8080)); err != nil {
		t.Errorf("client to host port: %v", err)
	}
	if err := c.DelPod(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if err := dial(client, netip.AddrPortFrom(node, 8080)); err == nil {
		t.Error("the host port answers after its pod is gone")
	}
}

func stepNotReady(t *testing.T, c *lab.Cluster) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "apiVersion: net.hopsack.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {name: default}\nspec: {network: 10.244.0.0/16, backend: {type: vxlan}}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	err := c.Up(t.Context(), lab.Options{Routed: -1, ConfigFile: file, ConfigTimeout: time.Second})
	if err == nil {
		t.Fatal("the network is said to be ready, and no controller runs")
	}
	for _, want := range []string{"wait for the network to be ready", "networkconfig default: no conditions yet", "nodenetwork n1: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func mustExec(t *testing.T, c *lab.Cluster, place string, argv ...string) string {
	t.Helper()
	out, err := c.Exec(t.Context(), place, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func api(t *testing.T, c *lab.Cluster) client.Client {
	t.Helper()
	cl, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// place returns a place's network namespace and first address.
func place(t *testing.T, c *lab.Cluster, name string) (string, netip.Addr) {
	t.Helper()
	path, err := c.NetNS(name)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := c.Addrs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path, addrs[0]
}

// serve answers HTTP at addr inside the namespace until the test ends.
func serve(t *testing.T, path string, addr netip.AddrPort) {
	t.Helper()
	var l net.Listener
	err := lab.WithNetNS(path, func() error {
		var err error
		l, err = net.Listen("tcp", addr.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
}

// dial makes one connection from inside the namespace.
func dial(path string, to netip.AddrPort) error {
	return lab.WithNetNS(path, func() error {
		conn, err := net.DialTimeout("tcp", to.String(), 2*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
