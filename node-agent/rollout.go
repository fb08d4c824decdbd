package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/dataplane"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/store"
)

// memory is what the agent found out by itself and must not forget.
type memory struct {
	commit commit
	// proven is the endpoint at which peers answered.
	proven string
	// sending is what the log was told last.
	sending sending
	// check is the result of the last check.
	check *v1alpha1.CheckResult
	// adopted and assumed say that what an earlier process reported, and the direct routes it left, were taken up.
	adopted, assumed bool
}

// stored is the memory as it goes to disk.
func (m memory) stored() *store.Agent {
	return &store.Agent{Confirmed: m.commit.Confirmed, Failed: m.commit.Failed, Proven: m.proven, Check: m.check}
}

// remember takes up what an earlier process saved. One that saved no findings had none to save: its node was part of the
// network, and is not made to join again.
func (a *Agent) remember(c store.Content, seen snapshot) {
	if c.Agent == nil {
		a.memory.proven = seen.endpoint()
		return
	}
	a.memory.commit = commit{Confirmed: c.Agent.Confirmed, Failed: c.Agent.Failed, failedAt: seen.Moves}
	a.memory.proven = c.Agent.Proven
	a.verifier.assumeCheck(c.Agent.Check)
}

// adopt takes up, once, what an earlier process reported and left in the kernel, where the disk does not know better.
func (a *Agent) adopt(s snapshot) {
	if r := s.Reported; r != nil && !a.memory.adopted {
		a.memory.adopted = true
		if r.NodeUID == s.Parsed.UID {
			if a.memory.commit.Confirmed == "" {
				a.memory.commit = commit{Confirmed: r.TransmitRevision, Failed: r.FailedRevision, failedAt: s.Moves}
			}
			a.verifier.assumeCheck(r.Check)
		}
	}
	if a.memory.assumed || s.Parsed.Transmit == nil {
		return
	}
	a.memory.assumed = true
	for _, r := range s.Parsed.Revisions {
		if r.Backend.DirectRouting != v1alpha1.DirectRoutingVerified {
			continue
		}
		routes, err := a.kernel.Routes(func(netip.Prefix) bool { return false })
		if err != nil {
			a.log.Error(err, "Reading which peers were reached directly") // they are proven anew
			return
		}
		a.verifier.assume(r.ID, directPeers(routes, s))
	}
}

// directPeers names the nodes that hopsack's own routes lead to without a tunnel.
func directPeers(routes []dataplane.Route, s snapshot) map[string]bool {
	direct := map[string]bool{}
	for _, l := range s.Peers {
		for _, r := range routes {
			if r.Protocol == dataplane.RouteProtocol && r.Prefix == l.Subnet && slices.Contains(l.PublicIPs, r.Gateway) {
				direct[l.Node] = true
			}
		}
	}
	return direct
}

// decide says which revision to send with and whether pods may start, from what probes found. What follows is on disk before
// it is in force.
func (a *Agent) decide(o *outcome) {
	node := o.view.Parsed
	if node.Teardown || node.Transmit == nil {
		return
	}
	a.adopt(o.view)
	o.results = a.verifier.results()
	t := o.results.Trial
	if a.unsettled {
		t.Reached = false // what was proven is not what was asked for
	}
	before := a.memory
	a.memory.commit, o.sending = before.commit.next(node, o.view.Moves, t)
	o.view.Parsed = withTransmit(node, o.sending.Revision)
	o.commit = a.memory.commit
	if o.sending.Reverted {
		failed := a.memory.commit.Failed
		a.verifier.distrust(failed)
		a.metrics.reverts.Inc()
		a.log.Info("Went back to the revision before: peers were not reached any more", "reason", failed.Failing[0].Message,
			"peer", failed.Failing[0].Node, "revision", o.sending.Revision)
	}
	a.logSending(o.sending)
	a.judgeEndpoint(o)
	a.memory.check = o.results.Check
	if before.check != a.memory.check || before.proven != a.memory.proven || before.commit.Confirmed != a.memory.commit.Confirmed ||
		before.commit.Failed != a.memory.commit.Failed {
		a.view.touch()
	}
}

// logSending says once what the node sends with, and whether that is proven.
func (a *Agent) logSending(now sending) {
	now.Reverted = false
	if now == a.memory.sending {
		return
	}
	a.memory.sending = now
	if now.Previous != "" {
		a.log.Info("Sends with another revision, on trial", "revision", now.Revision)
		return
	}
	a.log.Info("Sends with a proven revision", "revision", now.Revision)
}

// judgeEndpoint says whether peers answer at the endpoint that the node publishes. One that was proven once stays so: a node
// that reboots while its peers are gone starts its pods.
func (a *Agent) judgeEndpoint(o *outcome) {
	endpoint := o.view.endpoint()
	switch {
	case endpoint == "":
		o.unpublished = a.memory.proven == ""
	case a.memory.proven == endpoint:
	case o.view.alone() || o.results.Admitted:
		a.memory.proven = endpoint
	default:
		o.unproven = true
	}
}

// follow brings what the agent's own process does in line with the kernel: tunnels, and then probes. Only then can the node say
// that it receives a revision.
func (a *Agent) follow(o *outcome, want desired.State) {
	o.tunnelErr = a.tunnels.Set(want.UDPTunnels)
	config, ok := probeConfig(o.view, o.facts.Underlay, want.Probes)
	if ok {
		o.probeErr = a.prober.Configure(config)
	}
	if o.probeErr != nil {
		o.probeErr = fmt.Errorf("plug the prober in: %w", o.probeErr)
	}
	o.err = errors.Join(o.err, o.tunnelErr, o.probeErr)
	o.counts = countPaths(want, o.facts.Underlay.Name)
	if o.err != nil {
		return // what cannot be probed is not judged by probes
	}
	assigned := assignment{
		Probes: want.Probes, Transmit: o.sending.Revision, Previous: o.sending.Previous, Gate: o.unproven, Check: o.view.Parsed.Check,
	}
	if len(o.facts.Underlay.Addrs) > 0 {
		assigned.Local = o.facts.Underlay.Addrs[0]
	}
	o.results = a.verifier.set(assigned)
}

// leave ends what the agent's own process does on a node that is torn down.
func (a *Agent) leave() error {
	a.verifier.set(assignment{})
	return errors.Join(a.tunnels.Set(nil), a.prober.Close())
}

// countPaths counts peers by how their packets go.
func countPaths(s desired.State, underlay string) v1alpha1.PathCounts {
	var out v1alpha1.PathCounts
	for _, r := range s.Routes {
		switch {
		case r.Unreachable:
		case r.Device == underlay:
			out.Direct++
		default:
			out.Encapsulated++
		}
	}
	return out
}

// prepared are the revisions that the node can receive: their devices and routes are there, their tunnels listen, and the prober
// knows their paths.
func (o outcome) prepared() []string {
	if !o.applied || o.syncErr != nil || o.cleanedUp {
		return nil
	}
	doubtful := o.probeErr != nil || slices.ContainsFunc(o.problems, func(p desired.Problem) bool {
		// Whose the device is cannot be told, or what a probe would prove: only what has worked counts.
		return p.Reason == v1alpha1.ReasonForeignDevice || p.Reason == v1alpha1.ReasonForeignRule || p.Reason == v1alpha1.ReasonRevisionUnusable
	})
	var out []string
	for _, r := range o.view.Parsed.Revisions {
		if doubtful && r.ID != o.commit.Confirmed || o.tunnelErr != nil && r.Backend.Type == v1alpha1.BackendUDP {
			continue
		}
		out = append(out, r.ID)
	}
	return out
}

// report is the agent's report of a pass.
func (a *Agent) report(ctx context.Context, o outcome) {
	if ctx.Err() != nil {
		return // the process ends: what it gave up is no news
	}
	a.reporter.report(o.view.Node, nodeStatus(o, a.reporter.conditions()))
}
