package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/test/lab/internal/ns"
	"github.com/hopsack-net/hopsack/test/lab/internal/proc"
)

// Status is what runs, for people.
type Status struct {
	// Up says whether there is a lab in the state directory.
	Up bool
	// Owner is the state directory of the lab that is up on this machine, which may be another one; "" when none is.
	Owner string
	// Components are the control plane, the controller and the agents.
	Components []ComponentStatus
	Nodes      []NodeStatus
	Pods       []Pod
}

// ComponentStatus is one process.
type ComponentStatus struct {
	Name string
	// PID is 0 when the component does not run.
	PID int
	// Started is zero when the component does not run.
	Started time.Time
	// Paused says that it runs and stands still.
	Paused bool
}

// NodeStatus is one node.
type NodeStatus struct {
	Node Node
	// Addrs are its underlay addresses.
	Addrs []netip.Addr
	// Running says that its namespaces exist.
	Running bool
	// Network is what its NodeNetwork says of Ready, for example "Ready" or "WaitingForSubnet"; "-" when there is none.
	Network string
	// Faults are those in force, for people: "cut from api", "leases 5s late", "not Ready for 1m0s".
	Faults []string
}

// Status looks at everything. It works on half a lab, too; an API server that does not answer leaves Network at "unknown".
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	var st Status
	var err error
	if st.Owner, err = owner(); err != nil {
		return st, err
	}
	s, err := c.load()
	if errors.Is(err, ErrNotUp) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	st.Up = true
	names := []string{ETCD, APIServer, Controller}
	if s.Kubelet != nil {
		names = []string{ETCD, APIServer, ControllerManager, Scheduler}
	}
	for _, n := range s.Nodes {
		if s.Kubelet != nil {
			names = append(names, s.Kubelet.nodeComponents(n.Name)...)
		} else {
			names = append(names, Agent(n.Name))
		}
	}
	for _, name := range names {
		comp, err := c.componentStatus(name)
		if err != nil {
			return st, err
		}
		st.Components = append(st.Components, comp)
	}
	networks := c.networks(ctx)
	for _, n := range s.Nodes {
		st.Nodes = append(st.Nodes, NodeStatus{
			Node:    n,
			Addrs:   n.Addrs(),
			Running: c.Running(machineRecord(n.Name)) && ns.Exists(netnsPath(n.Name)),
			Network: networks.of(n.Name),
			Faults:  append(s.faults(n.Name), networks.faults[n.Name]...),
		})
	}
	st.Pods, err = c.Pods()
	return st, err
}

func (c *Cluster) componentStatus(name string) (ComponentStatus, error) {
	r, err := c.procs.Load(name)
	if errors.Is(err, proc.ErrGone) || (err == nil && !r.Alive()) {
		return ComponentStatus{Name: name}, nil
	}
	return ComponentStatus{Name: name, PID: r.PID, Started: r.Started, Paused: r.Stopped()}, err
}

// seen is what the API server says of the nodes.
type seen struct {
	// answered is false when it did not.
	answered bool
	reasons  map[string]string
	faults   map[string][]string
}

// of is what a node's NodeNetwork says of Ready.
func (s seen) of(node string) string {
	if !s.answered {
		return "unknown"
	}
	if reason, ok := s.reasons[node]; ok {
		return reason
	}
	return "-"
}

// networks asks the API server for what it knows of the nodes.
func (c *Cluster) networks(ctx context.Context) seen {
	if !c.Running(APIServer) {
		return seen{}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	api, err := c.Client()
	if err != nil {
		return seen{}
	}
	var list v1alpha1.NodeNetworkList
	var nodes corev1.NodeList
	// A lab with kubelets knows hopsack's kinds only once they were installed.
	err = api.List(ctx, &list, &client.ListOptions{})
	if meta.IsNoMatchError(err) {
		err = nil
	}
	if err := errors.Join(err, api.List(ctx, &nodes)); err != nil {
		return seen{}
	}
	out := seen{answered: true, reasons: map[string]string{}, faults: map[string][]string{}}
	for _, nn := range list.Items {
		out.reasons[nn.Name] = "-"
		if ready := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			out.reasons[nn.Name] = ready.Reason
		}
	}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				age := time.Since(cond.LastTransitionTime.Time).Round(time.Second)
				out.faults[n.Name] = append(out.faults[n.Name], fmt.Sprintf("not Ready for %s", age))
			}
		}
	}
	return out
}

// faults are those that the lab has put on a node and remembers.
func (s *state) faults(node string) []string {
	var out []string
	for _, what := range s.Cuts[node] {
		out = append(out, "cut from "+string(what))
	}
	for _, name := range slices.Sorted(maps.Keys(delayable)) {
		if d := s.Delays[node][delayable[name]]; d > 0 {
			out = append(out, fmt.Sprintf("%s %s late", name, d))
		}
	}
	return out
}
