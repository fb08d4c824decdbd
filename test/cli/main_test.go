package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/cli"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// Set by TestMain: a client that may do everything, and the kubeconfig of such a user.
var (
	api        client.WithWatch
	admin      *rest.Config
	kubeconfig string
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "hopsack-cli")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop, err := startControlPlane(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return m.Run()
}

func startControlPlane(dir string) (stop func(), err error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	programs := os.Getenv("HOPSACK_CONTROLPLANE_BIN")
	if programs == "" {
		programs = filepath.Join(root, "bin", "controlplane")
	}
	for _, p := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(programs, p)); err != nil {
			return nil, fmt.Errorf("%s is not in %s: build it with `make lab`, or name its folder in HOPSACK_CONTROLPLANE_BIN", p, programs)
		}
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: programs, CRDDirectoryPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
	}
	config, err := env.Start()
	stop = func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := errors.Join(os.WriteFile(kubeconfig, env.KubeConfig, 0o600), os.Unsetenv("KUBECONFIG")); err != nil {
		stop()
		return nil, err
	}
	config.QPS = -1
	admin = config
	if api, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// output is what a command writes, safe to be read while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// running is a command that may not be over.
type running struct {
	t           *testing.T
	out, errOut *output
	code        chan int
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, out: &output{}, errOut: &output{}, code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.code <- cli.Run(ctx, withKubeconfig(args),
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: r.out, ErrOut: r.errOut})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// wait returns the exit code.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(patience):
		r.t.Fatalf("not over after %s; it wrote:\n%s%s", patience, r.out, r.errOut)
		return 0
	}
}

// until waits until the command has written text.
func (r *running) until(text string) {
	r.t.Helper()
	eventually(r.t, "output with "+text, func() bool { return strings.Contains(r.out.String(), text) })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}

// empty removes everything that tests make, now and when the test ends.
func empty(t *testing.T) {
	t.Helper()
	wipe := func() {
		letGo(t)
		ctx := context.Background()
		for _, obj := range []client.Object{&v1alpha1.NetworkConfig{}, &v1alpha1.NodeNetwork{}, &v1alpha1.SubnetLease{}, &corev1.Node{}} {
			if err := api.DeleteAllOf(ctx, obj); err != nil {
				t.Fatalf("wipe: %v", err)
			}
		}
	}
	wipe()
	t.Cleanup(wipe)
}

// network creates a NetworkConfig that is settled on vxlan.
func network(t *testing.T, change ...func(*v1alpha1.NetworkConfig)) *v1alpha1.NetworkConfig {
	t.Helper()
	cfg := &v1alpha1.NetworkConfig{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NetworkConfigName},
		Spec:       v1alpha1.NetworkConfigSpec{Network: "10.244.0.0/16", Backend: v1alpha1.Backend{Type: v1alpha1.BackendVXLAN}},
	}
	for _, f := range change {
		f(cfg)
	}
	if err := api.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	report(t, settled("aaaa1111"))
	return cfg
}

// settled is a status in which every node sends with a revision.
func settled(revision string) func(*v1alpha1.NetworkConfig) {
	return func(c *v1alpha1.NetworkConfig) {
		s := &c.Status
		s.ObservedGeneration = c.Generation
		s.ActiveRevision, s.TargetRevision = revision, revision
		s.Nodes = v1alpha1.NodeCounts{Total: 3, Live: 3, Ready: 3, Prepared: 3, Verified: 3, Switched: 3}
		s.Rollout = &v1alpha1.RolloutStatus{Generation: c.Generation, Phase: v1alpha1.PhaseSettled, Target: revision}
		s.FailingPairs, s.FailingPairCount = nil, 0
		s.Conditions = conditions(c.Generation, "True", "Ready", "all nodes carry the network", "False", "Settled", "False", "NotStalled")
	}
}

// conditions are Ready, Progressing and Stalled.
func conditions(generation int64, ready, readyReason, message, progressing, progressingReason, stalled, stalledReason string) []metav1.Condition {
	one := func(kind, status, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message,
			ObservedGeneration: generation, LastTransitionTime: metav1.Now()}
	}
	return []metav1.Condition{one("Ready", ready, readyReason), one("Progressing", progressing, progressingReason), one("Stalled", stalled, stalledReason)}
}

// report changes the NetworkConfig's status.
func report(t *testing.T, change func(*v1alpha1.NetworkConfig)) {
	t.Helper()
	cfg := &v1alpha1.NetworkConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, cfg); err != nil {
		t.Fatal(err)
	}
	change(cfg)
	if err := api.Status().Update(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// respec changes the NetworkConfig's spec.
func respec(t *testing.T, change func(*v1alpha1.NetworkConfig)) {
	t.Helper()
	cfg := current(t)
	change(cfg)
	if err := api.Update(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func current(t *testing.T) *v1alpha1.NetworkConfig {
	t.Helper()
	cfg := &v1alpha1.NetworkConfig{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: v1alpha1.NetworkConfigName}, cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// withKubeconfig adds --kubeconfig, except where what follows must be the word to complete: there $KUBECONFIG is set.
func withKubeconfig(args []string) []string {
	if args[0] == "__complete" {
		return args
	}
	return append(args, "--kubeconfig", kubeconfig)
}
