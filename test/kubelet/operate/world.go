package operate

import (
	"context"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/test/e2e/rollout"
	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
	"github.com/hopsack-net/hopsack/test/kubelet/load"
	"github.com/hopsack-net/hopsack/test/lab/loss"
)

const (
	namespace = "hopsack-system"
	agents    = "daemonset/hopsack-agent"
	// spare is the node that is turned off: the Service has no pods there and is not asked from or through it.
	spare    = "n2"
	sparePod = "p2"
)

// World is a cluster whose network is in effect, with a pod p<i> on every node n<i> and a Service that is asked without pause.
type World struct {
	*cluster.Cluster
	rollout *rollout.World
	api     client.Client
	asking  *load.Generator
}

// Operation is what came of one: what streams of packets lost, and what requests to the Service failed.
type Operation struct {
	Name string `json:"operation"`
	// Seconds is until everything was Ready again.
	Seconds float64 `json:"seconds"`
	rollout.Figures
	// BackSeconds is from when a node was turned on until its pod was Ready and answered; BootSeconds, of these, until its kubelet
	// and kube-proxy ran.
	BackSeconds float64 `json:"backSeconds,omitempty"`
	BootSeconds float64 `json:"bootSeconds,omitempty"`
	// Restarts is how often containers of hopsack were started again in pods that stayed, by the containers' names.
	Restarts map[string]int     `json:"restarts,omitempty"`
	Paths    []rollout.PathLoss `json:"paths,omitempty"`
	HTTP     load.Result        `json:"http"`
}

// Clean says that nobody noticed.
func (o Operation) Clean() bool {
	return o.Figures.Clean() && o.HTTP.Failed == 0 && o.HTTP.Requests > 0
}

// Prepare makes the pods and the Service and starts to ask it: rate requests per second from pods, as many from outside, as many
// from nodes. The caller calls Close.
func Prepare(ctx context.Context, c *cluster.Cluster, rate float64, say func(format string, args ...any)) (*World, error) {
	w := &World{Cluster: c}
	var err error
	if w.rollout, err = rollout.New(c.Cluster, say); err != nil {
		return nil, err
	}
	w.api = w.rollout.API
	if err := c.Pods(ctx, "p1@n1", "p2@n2", "p3@n3"); err != nil {
		return nil, err
	}
	svc, err := load.Deploy(ctx, c, "web", 4, "n1", "n3")
	if err != nil {
		return nil, err
	}
	clients, err := load.Clients(c, svc, rate, svc.Nodes...)
	if err != nil {
		return nil, err
	}
	w.asking, err = load.Start(ctx, clients)
	return w, err
}

// Close ends the requests.
func (w *World) Close() { w.asking.Stop() }

// Settle changes the backend and waits until the change is in effect.
func (w *World) Settle(ctx context.Context, c rollout.Change) error {
	_, err := w.rollout.Settle(ctx, c)
	return err
}

// allPaths are paths between all nodes, others those that do not touch the spare one.
func allPaths() []rollout.Probe {
	return []rollout.Probe{
		{Path: rollout.SameSegment, Size: loss.DefaultSize}, {Path: rollout.Routed, Size: loss.SizeMax}, {Path: rollout.FromNode, Size: loss.DefaultSize},
	}
}

func others() []rollout.Probe {
	return rollout.Of(loss.DefaultSize, rollout.Routed, rollout.Path{From: "n1", To: "p3"})
}

// measure counts what is lost on paths, and which requests fail, while during runs.
func (w *World) measure(ctx context.Context, name string, paths []rollout.Probe, during func(context.Context) error) (Operation, error) {
	op := Operation{Name: name}
	before, err := w.restarts(ctx)
	if err != nil {
		return op, err
	}
	var lost rollout.Loss
	op.HTTP, err = w.asking.Measure(ctx, func(ctx context.Context) (err error) {
		lost, err = w.rollout.Measure(ctx, paths, func(ctx context.Context) error {
			start := time.Now()
			err := during(ctx)
			op.Seconds = seconds(time.Since(start))
			return err
		})
		return err
	})
	op.Figures, op.Paths = lost.Figures, lost.Paths
	if err != nil {
		return op, fmt.Errorf("%s: %w", name, err)
	}
	after, err := w.restarts(ctx)
	op.Restarts = map[string]int{}
	for c, n := range after {
		// A container that is new has begun at nought.
		if more := n - before[c]; more > 0 {
			op.Restarts[c.name] += more
		}
	}
	return op, err
}

// container is one of hopsack's containers.
type container struct {
	pod  types.UID
	name string
}

// restarts is how often hopsack's containers were started again.
func (w *World) restarts(ctx context.Context) (map[container]int, error) {
	var pods corev1.PodList
	if err := w.api.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list hopsack's pods: %w", err)
	}
	out := map[container]int{}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			out[container{pod.UID, c.Name}] = int(c.RestartCount)
		}
	}
	return out, nil
}

// ready waits until all of hopsack is Ready, of the version that its manifests name, and the network in effect.
func (w *World) ready(ctx context.Context) error {
	for _, what := range []string{agents, "deployment/hopsack-controller"} {
		if _, err := w.Kubectl(ctx, "rollout", "status", "-n", namespace, what, "--timeout=4m"); err != nil {
			return err
		}
	}
	// What the workloads report may still be of the pods before.
	if err := w.Soon(ctx, "every pod of hopsack to be Ready", func() (bool, error) {
		err := w.allReady(ctx)
		return err == nil, err
	}); err != nil {
		return err
	}
	return w.Soon(ctx, "the network to be Ready", func() (bool, error) {
		cfg, err := w.rollout.Config(ctx)
		if err == nil {
			err = inEffect(cfg)
		}
		return err == nil, err
	})
}

// controllers is how many the manifests ask for.
const controllers = 2

// allReady returns nil when as many pods of hopsack are Ready as there are to be, and no other is left.
func (w *World) allReady(ctx context.Context) error {
	nodes, err := w.Nodes()
	if err != nil {
		return err
	}
	var pods corev1.PodList
	if err := w.api.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list hopsack's pods: %w", err)
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil || !podReady(&pod) {
			return fmt.Errorf("pod %s is not Ready", pod.Name)
		}
	}
	if want := len(nodes) + controllers; len(pods.Items) != want {
		return fmt.Errorf("%d pods, want %d", len(pods.Items), want)
	}
	return nil
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }
