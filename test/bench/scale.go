package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/test/lab"
)

const (
	scaleNode = "n1"
	// scaleJoins is how many peers join one after another.
	scaleJoins = 20
	// scaleWriters write leases at the same time.
	scaleWriters = 16
)

func scaleCases() []benchCase {
	var out []benchCase
	for _, peers := range []int{1000, 5000} {
		out = append(out, benchCase{
			name: fmt.Sprintf("scale/%d", peers), what: fmt.Sprintf("an agent with %d peers on a real API server", peers),
			onLab: func(ctx context.Context, _ settings, l *benchmarkLab) error { return benchScale(ctx, l, peers) },
		})
	}
	return out
}

// scaleResult: fresh is an agent on a node without any trace of hopsack, from the start of the process until the last peer
// has its route; restart one that finds them on its disk and in the kernel, until it is ready. CPU, received bytes and RSS are those
// of the fresh one, two seconds later. Join is from the write of a lease's endpoint until its route is in the kernel.
type scaleResult struct {
	Bench    string  `json:"bench"`
	N        int     `json:"n"`
	Fresh    float64 `json:"fresh_ms"`
	Restart  float64 `json:"restart_ms"`
	CPU      float64 `json:"cpu_s"`
	Received uint64  `json:"received_bytes"`
	RSS      float64 `json:"rss_mb"`
	PeakRSS  float64 `json:"rss_peak_mb"`
	Joins    int     `json:"joins"`
	JoinP50  float64 `json:"join_p50_ms"`
	JoinP90  float64 `json:"join_p90_ms"`
	JoinMax  float64 `json:"join_max_ms"`
	// WriteP50 is the part of Join in which the API server answers the write. Per join the agent makes JoinPasses passes and
	// uses JoinCPU; PassMean is the time of one pass.
	WriteP50   float64 `json:"join_write_p50_ms"`
	JoinPasses float64 `json:"join_passes"`
	JoinCPU    float64 `json:"join_cpu_ms"`
	PassMean   float64 `json:"pass_mean_ms"`
}

// benchScale gives an agent the leases of peers that do not exist, as the controller would write them. The controller is
// stopped: it would find that they have no nodes. So these cases come last, the lab is not one for others afterwards.
func benchScale(ctx context.Context, l *benchmarkLab, peers int) error {
	agent := lab.Agent(scaleNode)
	agentProgram, err := filepath.Abs(filepath.Join("bin", "hopsack-agent"))
	if err != nil {
		return err
	}
	if err := errors.Join(l.Kill(ctx, lab.Controller), l.Kill(ctx, agent)); err != nil {
		return err
	}
	if _, err := l.Exec(ctx, scaleNode, agentProgram, "cleanup", "--yes"); err != nil {
		return err
	}
	say("  writing %d leases", peers)
	if err := l.createLeases(ctx, scaleLeases(1, peers)); err != nil {
		return err
	}
	routes, err := l.watchRoutes(scaleNode)
	if err != nil {
		return err
	}
	defer routes.close()
	result := scaleResult{Bench: "scale", N: peers, Joins: scaleJoins}
	if err := l.freshAgent(ctx, agent, routes, &result); err != nil {
		return err
	}
	if err := l.joins(ctx, agent, routes, &result); err != nil {
		return err
	}
	if err := l.Kill(ctx, agent); err != nil {
		return err
	}
	took, err := l.startAgent(ctx, agent, func() error { return l.untilReady(ctx, scaleNode) })
	if err != nil {
		return err
	}
	result.Restart = ms(took)
	return emit(result)
}

// startAgent starts an agent and times it until done returns.
func (l *benchmarkLab) startAgent(ctx context.Context, agent string, done func() error) (time.Duration, error) {
	started := make(chan error, 1)
	start := time.Now()
	go func() { started <- l.Start(ctx, agent) }()
	err := done()
	took := time.Since(start)
	return took, errors.Join(err, <-started)
}

// freshAgent starts an agent to which all peers are new.
func (l *benchmarkLab) freshAgent(ctx context.Context, agent string, routes *routeWatch, result *scaleResult) error {
	if err := l.countAPI(ctx, scaleNode); err != nil {
		return err
	}
	defer l.forgetAPI(ctx, scaleNode)
	took, err := l.startAgent(ctx, agent, func() error { return routes.until(ctx, scaleLeases(1, result.N)) })
	if err != nil {
		return err
	}
	result.Fresh = ms(took)
	time.Sleep(2 * time.Second)
	pid, err := l.PID(agent)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(pid)
	if err != nil {
		return err
	}
	rss, peak, err := residentMemory(pid)
	if err != nil {
		return err
	}
	result.CPU, result.RSS, result.PeakRSS = round(cpu.Seconds(), 2), round(float64(rss)/mebibyte, 1), round(float64(peak)/mebibyte, 1)
	result.Received, err = l.counter(ctx, scaleNode, "received")
	say("  fresh: all routes after %.0f ms, %.2f s of CPU, RSS %.0f MB", result.Fresh, result.CPU, result.RSS)
	return errors.Join(err, l.inNetNS(scaleNode, func() error { return countAtLeast(result.N) }))
}

// joins adds peers one after another.
func (l *benchmarkLab) joins(ctx context.Context, agent string, routes *routeWatch, result *scaleResult) error {
	var times, writes sample
	before, err := l.work(ctx, agent)
	if err != nil {
		return err
	}
	for i := range scaleJoins {
		// Beyond all that are there, and not in the way of the next, larger case.
		peer := scaleLease(5000 + result.N/5 + i) // away from the peers of every size
		object, err := l.createLease(ctx, peer)
		if err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond) // the agent is done with the peer before, and has seen the lease without an endpoint
		err = times.took(func() error {
			if err := writes.took(func() error { return l.publish(ctx, object, peer) }); err != nil {
				return err
			}
			return routes.until(ctx, []network.Lease{peer})
		})
		if err != nil {
			return err
		}
	}
	after, err := l.work(ctx, agent)
	if err != nil {
		return err
	}
	result.WriteP50, result.JoinP50, result.JoinP90, result.JoinMax = ms(writes.p50()), ms(times.p50()), ms(times.p(0.9)), ms(times.p(1))
	result.JoinPasses = round((after.passes-before.passes)/scaleJoins, 1)
	result.JoinCPU = round(1000*(after.cpu-before.cpu).Seconds()/scaleJoins, 1)
	result.PassMean = round(1000*(after.seconds-before.seconds)/max(1, after.passes-before.passes), 1)
	say("  join: p50 %.1f ms, most %.1f ms; %.1f passes of %.1f ms and %.1f ms of CPU each", result.JoinP50, result.JoinMax,
		result.JoinPasses, result.PassMean, result.JoinCPU)
	return nil
}

// agentWork is what an agent has done so far.
type agentWork struct {
	passes, seconds float64
	cpu             time.Duration
}

// work waits until the agent is done with what it has heard, and reads what it has done.
func (l *benchmarkLab) work(ctx context.Context, agent string) (w agentWork, err error) {
	const passTime = "hopsack_agent_pass_duration_seconds"
	time.Sleep(time.Second)
	if w.passes, err = l.metric(ctx, scaleNode, passTime+"_count"); err != nil {
		return w, err
	}
	if w.seconds, err = l.metric(ctx, scaleNode, passTime+"_sum"); err != nil {
		return w, err
	}
	pid, err := l.PID(agent)
	if err != nil {
		return w, err
	}
	w.cpu, err = cpuTime(pid)
	return w, err
}

// createLeases writes leases with their endpoints; those that exist are left alone.
func (l *benchmarkLab) createLeases(ctx context.Context, peers []network.Lease) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(scaleWriters)
	for _, p := range peers {
		group.Go(func() error {
			object, err := l.createLease(ctx, p)
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			if err != nil {
				return err
			}
			return l.publish(ctx, object, p)
		})
	}
	return group.Wait()
}

func (l *benchmarkLab) createLease(ctx context.Context, p network.Lease) (*v1alpha1.SubnetLease, error) {
	object := &v1alpha1.SubnetLease{
		ObjectMeta: metav1.ObjectMeta{Name: network.LeaseName(p.Subnet)},
		Spec:       v1alpha1.SubnetLeaseSpec{Subnet: p.Subnet.String(), NodeName: p.Node},
	}
	return object, l.api.Create(ctx, object)
}

// publish writes a lease's endpoint.
func (l *benchmarkLab) publish(ctx context.Context, object *v1alpha1.SubnetLease, p network.Lease) error {
	object.Status.PublicIP, object.Status.BackendType = p.PublicIPs[0].String(), v1alpha1.BackendVXLAN
	object.Status.BackendData.VTEPMAC = p.VTEP.String()
	meta.SetStatusCondition(&object.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonBound, Message: "The node uses the subnet.",
	})
	if err := l.api.Status().Update(ctx, object); err != nil {
		return fmt.Errorf("write status of lease %s: %w", object.Name, err)
	}
	return nil
}

// missing are the subnets of peers that have no route yet.
func missing(peers []network.Lease) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, p := range peers {
		out[p.Subnet] = true
	}
	return out
}

// scaleLease is the lease of node i in the lab's network 10.244.0.0/16, away from the subnets of the lab's own nodes: agents
// take no lease outside the pod networks. A /29 each leaves room for 5,000.
func scaleLease(i int) network.Lease {
	l := lease(i)
	offset := 64<<8 + i*8
	l.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(offset >> 8), byte(offset)}), 29)
	return l
}

// scaleLeases are those of the nodes from first to last.
func scaleLeases(first, last int) []network.Lease {
	var out []network.Lease
	for i := first; i <= last; i++ {
		out = append(out, scaleLease(i))
	}
	return out
}
