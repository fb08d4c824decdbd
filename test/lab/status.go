package lab

import (
	"context"
	"errors"
	"net/netip"
	"time"

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
	for _, n := range s.Nodes {
		names = append(names, Agent(n.Name))
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
			Network: networks(n.Name),
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
	return ComponentStatus{Name: name, PID: r.PID, Started: r.Started}, err
}

// networks returns a function from a node to what its NodeNetwork says of Ready.
func (c *Cluster) networks(ctx context.Context) func(string) string {
	unknown := func(string) string { return "unknown" }
	if !c.Running(APIServer) {
		return unknown
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	api, err := c.Client()
	if err != nil {
		return unknown
	}
	var list v1alpha1.NodeNetworkList
	if err := api.List(ctx, &list, &client.ListOptions{}); err != nil {
		return unknown
	}
	reasons := map[string]string{}
	for _, nn := range list.Items {
		reasons[nn.Name] = "-"
		if ready := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			reasons[nn.Name] = ready.Reason
		}
	}
	return func(node string) string {
		if reason, ok := reasons[node]; ok {
			return reason
		}
		return "-"
	}
}
