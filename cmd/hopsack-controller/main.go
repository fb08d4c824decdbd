// Command hopsack-controller hands out node subnets and tells every node what its data path must be.
//
// It owns flags and the wiring of the manager; what it does is in package controllers. It waits for an API server that does
// not answer, and refuses to run without access to one. Any number may run: one at a time is elected, the others keep their caches warm.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/controllers"
	"github.com/hopsack-net/hopsack/internal/rewind"
	"github.com/hopsack-net/hopsack/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if errors.Is(err, rewind.ErrRewound) {
		fmt.Fprintln(os.Stderr, "hopsack-controller: starting afresh:", err)
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	switch {
	case errors.Is(err, errVersion):
		fmt.Println("hopsack-controller version", version.Line())
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "hopsack-controller:", err)
		os.Exit(1)
	}
}

// errVersion is what parsing ends with when the release was asked for.
var errVersion = errors.New("version asked for")

// options are the flags.
type options struct {
	kubeconfig        string
	metricsAddress    string
	probeAddress      string
	leaderElect       bool
	electionNamespace string
	electionID        string
	policy            string
}

func run(ctx context.Context, args []string) error {
	var o options
	logging := textlogger.NewConfig()
	if err := parse(&o, logging, args); err != nil {
		return err
	}
	log := textlogger.NewLogger(logging)
	ctrl.SetLogger(log)
	klog.SetLogger(log)

	fence, err := newFence(o)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	switch err := awaitServer(ctx, config, o.probeAddress, log); {
	case errors.Is(err, context.Canceled):
		return nil // as a manager that was told to end does
	case err != nil:
		return err
	}
	mgr, err := newManager(o, config, fence)
	if err != nil {
		return err
	}
	if err := addController(mgr, fence, o.policy); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run manager: %w", err)
	}
	return nil
}

func parse(o *options, logging *textlogger.Config, args []string) error {
	fs := flag.NewFlagSet("hopsack-controller", flag.ContinueOnError)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; empty: the pod's service account")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":10474", "`address` of /metrics; 0: none")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", "127.0.0.1:10475", "`address` of /healthz and /readyz; 0: none")
	fs.BoolVar(&o.leaderElect, "leader-elect", true, "work only while elected")
	fs.StringVar(&o.electionNamespace, "leader-election-namespace", podNamespace(), "`namespace` of the election's Lease")
	fs.StringVar(&o.electionID, "leader-election-id", "hopsack-controller", "`name` of the election's Lease")
	fs.StringVar(&o.policy, "admission-policy", cmp.Or(os.Getenv("ADMISSION_POLICY"), v1alpha1.AdmissionPolicyName),
		"`name` of the ValidatingAdmissionPolicy that confines agents, and of its binding (environment ADMISSION_POLICY)")
	release := fs.Bool("version", false, "print the release and exit")
	logging.AddFlags(fs)
	fs.Lookup("v").Usage = "log `level`: 0 what changed, 1 also what is tried again, more from the libraries"
	fs.Lookup("vmodule").Usage = "log levels of single files, `name=level,...`"
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *release {
		return errVersion
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return nil
}

// podNamespace is the namespace of the pod this runs in, else the one that hopsack is installed in.
func podNamespace() string {
	b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil || len(b) == 0 {
		return "hopsack-system"
	}
	return strings.TrimSpace(string(b))
}

// newFence names this process for the election: by its host, for people, and by a random part, because a process that was
// started anew is another one. Without an election there is nobody to be told apart from.
func newFence(o options) (controllers.Fence, error) {
	if !o.leaderElect {
		return controllers.Fence{}, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return controllers.Fence{}, fmt.Errorf("name the process: %w", err)
	}
	return controllers.Fence{
		Identity: host + "_" + string(uuid.NewUUID()),
		Lease:    types.NamespacedName{Namespace: o.electionNamespace, Name: o.electionID},
	}, nil
}

// renewDeadline is how long a leader tries to keep the election before it gives up: controller-runtime's default.
const renewDeadline = 10 * time.Second

// newLock makes the election's lock, nil without an election. The manager would make one as well, under a name of its own.
func newLock(config *rest.Config, fence controllers.Fence) (resourcelock.Interface, error) {
	if fence.Identity == "" {
		return nil, nil
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, fence.Lease.Namespace, fence.Lease.Name,
		resourcelock.ResourceLockConfig{Identity: fence.Identity}, config, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("make election lock: %w", err)
	}
	return lock, nil
}

func newManager(o options, config *rest.Config, fence controllers.Fence) (ctrl.Manager, error) {
	// No limit of its own: the controller has few requests under way at a time, and the API server's priority and fairness
	// protects it better than a number here could. A thousand nodes that join at once take eight thousand writes.
	config.QPS = -1
	guard := rewind.New(config)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	lock, err := newLock(config, fence)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress: o.probeAddress,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: controllers.StripNode}},
		},
		LeaderElection:                      o.leaderElect,
		LeaderElectionID:                    o.electionID,
		LeaderElectionNamespace:             o.electionNamespace,
		LeaderElectionResourceLockInterface: lock,
		RenewDeadline:                       new(renewDeadline),
		// The process ends right after the manager, so the successor need not wait for the lease to expire.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	if err := mgr.Add(historyGuard{mgr, guard}); err != nil {
		return nil, fmt.Errorf("add history guard: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", cachesSynced(mgr))); err != nil {
		return nil, fmt.Errorf("add health checks: %w", err)
	}
	return mgr, nil
}

// cachesSynced says that the controller sees the cluster: then it can take over at once, elected or not.
func cachesSynced(mgr ctrl.Manager) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("caches are not in sync yet")
		}
		return nil
	}
}

func addController(mgr ctrl.Manager, fence controllers.Fence, policy string) error {
	serviceCIDRs, err := controllers.HasServiceCIDRs(mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	m, err := controllers.NewMetrics(metrics.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	r, err := controllers.New(controllers.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("hopsack-controller"),
		Metrics: m, ServiceCIDRs: serviceCIDRs, Fence: fence, Policy: policy,
	})
	if err != nil {
		return err
	}
	if err := r.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up controller: %w", err)
	}
	return nil
}
