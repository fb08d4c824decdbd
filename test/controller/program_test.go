package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

// TestProgram: the program itself, with a token of its service account: flags, election, health, readiness, metrics, and the
// hand-over from one that is told to stop.
func TestProgram(t *testing.T) {
	c := newCluster(t)
	program := filepath.Join(t.TempDir(), "hopsack-controller")
	build := exec.Command("go", "build", "-o", program, "../../cmd/hopsack-controller")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	kubeconfig := c.kubeconfig("hopsack-controller")
	first := startProgram(t, program, kubeconfig)
	first.get("healthz")
	first.get("readyz")
	c.apply(plain)
	c.nodes(2)
	c.bound(2)
	c.startAgents()
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)

	second := startProgram(t, program, kubeconfig)
	second.get("readyz") // its caches are warm although it is not elected
	holder := c.electionHolder()
	c.carries(holder)
	first.stop()
	start := time.Now()
	c.node("n3", address(3))
	c.bound(3)
	if d := time.Since(start); d > 10*time.Second { // the lease of one that died would take 15 s to expire
		t.Errorf("hand-over took %s", d)
	}
	if now := c.electionHolder(); now == holder {
		t.Errorf("%s still holds the election", holder)
	}
	c.carries(c.electionHolder()) // a node that joins is published only within the fence
	text := second.get("metrics")
	for _, want := range []string{
		`hopsack_leases{state="Bound"} 3`, `hopsack_subnets{state="free"} 252`, `hopsack_subnets{state="used"} 3`, `hopsack_nodes{state="ready"} 3`,
		`hopsack_pass_duration_seconds_count`, `hopsack_writes_total{kind="SubnetLease",verb="create"} 1`, `hopsack_write_failures_total`,
		`leader_election_master_status`, `workqueue_depth`,
	} {
		c.eventually("metrics", func() error {
			if text = second.get("metrics"); !strings.Contains(text, want) {
				return fmt.Errorf("no %s", want)
			}
			return nil
		})
	}
	second.stop()
}

// running is a program that runs.
type running struct {
	t       *testing.T
	cmd     *exec.Cmd
	log     strings.Builder
	metrics string
	probes  string
	done    chan error
}

func startProgram(t *testing.T, program, kubeconfig string) *running {
	t.Helper()
	r := &running{t: t, metrics: freeAddress(t), probes: freeAddress(t), done: make(chan error, 1)}
	r.cmd = exec.Command(program, "--kubeconfig", kubeconfig, "--metrics-bind-address", r.metrics, "--health-probe-bind-address", r.probes, "-v", "1")
	r.cmd.Stderr = &r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log of the program:\n%.8000s", r.log.String())
		}
	})
	return r
}

func (r *running) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatalf("stop: %v", err)
	}
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("program ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		r.t.Errorf("program did not end")
	}
}

// get asks until the program answers with 200.
func (r *running) get(path string) string {
	r.t.Helper()
	address := r.probes
	if path == "metrics" {
		address = r.metrics
	}
	deadline := time.Now().Add(patience)
	for {
		body, err := fetch("http://" + address + "/" + path)
		if err == nil {
			return body
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %v", path, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func fetch(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", response.Status, body))
	}
	return string(body), err
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// kubeconfig writes one with a token of a service account.
func (c *cluster) kubeconfig(account string) string {
	c.t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: "hopsack-system"}}
	token := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(context.Background(), sa, token); err != nil {
		c.t.Fatalf("request token: %v", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatalf("write kubeconfig: %v", err)
	}
	return file
}

func (c *cluster) electionHolder() string {
	c.t.Helper()
	l := &coordinationv1.Lease{}
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: "hopsack-system", Name: "hopsack-controller"}, l); err != nil {
		c.t.Fatalf("get election lease: %v", err)
	}
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}
