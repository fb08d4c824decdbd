package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
)

var onLink = strings.Replace(plain, "{type: vxlan}", "{type: vxlan, vxlan: {directRouting: OnLink}}", 1)

// TestDirectRouting: the change goes prepare, switch, clean up, with a barrier before each; a silent node holds it and is named;
// a revert goes back the same way.
func TestDirectRouting(t *testing.T) {
	c := newCluster(t)
	stop := c.startController()
	a := c.startAgents()
	c.apply(plain)
	c.nodes(4)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	old := c.config().Status.ActiveRevision
	w := c.watchOrder()

	c.apply(onLink)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	now := c.config().Status.ActiveRevision
	c.everyNode([]string{now}, now)
	if now == old {
		t.Fatalf("revision %s did not change", now)
	}
	if got := c.config().Status.Effective.Backend.VXLAN.DirectRouting; got != v1alpha1.DirectRoutingOnLink {
		t.Errorf("effective directRouting %s", got)
	}

	a.silence("n3", true)
	c.apply(plain)
	c.condition(v1alpha1.ConditionProgressing, "True", v1alpha1.ReasonRollingOut, "preparing", "3 of 4", "n3")
	c.condition(v1alpha1.ConditionStalled, "False", v1alpha1.ReasonNotStalled)
	c.everyNode([]string{now, old}, now)
	// A node that joins meanwhile receives both and sends as the others do.
	c.node("n5", address(5))
	c.everyNode([]string{now, old}, now)
	// So does one whose controller is a new one.
	stop()
	stop = c.startController()
	c.touch()
	c.everyNode([]string{now, old}, now)
	// Back before anybody has switched.
	c.apply(onLink)
	a.silence("n3", false)
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{now}, now)

	for i := range 6 { // changes that overtake one another
		c.apply([]string{plain, onLink}[i%2])
	}
	c.condition(v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	c.everyNode([]string{now}, now)
	stop()
	w.stop()
	w.check(t)
}

// everyNode waits until every NodeNetwork receives and sends so.
func (c *cluster) everyNode(revisions []string, transmit string) {
	c.t.Helper()
	slices.Sort(revisions)
	c.eventually("revisions", func() error {
		for _, nn := range c.nodeNetworks() {
			var got []string
			for _, r := range nn.Spec.Revisions {
				got = append(got, r.ID)
			}
			slices.Sort(got)
			if !slices.Equal(got, revisions) || nn.Spec.Transmit != transmit {
				return fmt.Errorf("%s receives %v and sends %s, want %v and %s", nn.Name, got, nn.Spec.Transmit, revisions, transmit)
			}
		}
		return nil
	})
}

// orderWatch looks at every version of every NodeNetwork.
type orderWatch struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	errs []error
}

// watchOrder checks, after every change of any NodeNetwork, that no node in use is asked to send what another one has not
// reported to be able to receive, nor stops receiving what another one may still send.
func (c *cluster) watchOrder() *orderWatch {
	c.t.Helper()
	return c.watchVersions(order)
}

// watchVersions has check look at the NodeNetworks after every change of any.
func (c *cluster) watchVersions(check func(map[string]*v1alpha1.NodeNetwork) error) *orderWatch {
	c.t.Helper()
	wc, err := client.NewWithWatch(admin, client.Options{Scheme: scheme, Mapper: c.RESTMapper()})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var list v1alpha1.NodeNetworkList
	events, err := wc.Watch(ctx, &list)
	if err != nil {
		c.t.Fatal(err)
	}
	w := &orderWatch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		state := map[string]*v1alpha1.NodeNetwork{}
		for e := range events.ResultChan() {
			nn, ok := e.Object.(*v1alpha1.NodeNetwork)
			if !ok {
				continue
			}
			if e.Type == watch.Deleted {
				delete(state, nn.Name)
			} else {
				state[nn.Name] = nn
			}
			if err := check(state); err != nil {
				w.mu.Lock()
				w.errs = append(w.errs, err)
				w.mu.Unlock()
			}
		}
	}()
	return w
}

func (w *orderWatch) stop() {
	w.cancel()
	<-w.done
}

func (w *orderWatch) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.errs...); err != nil {
		t.Error(err)
	}
}

// order checks one moment. Nodes that are not bound, or have never reported, publish no endpoint: nobody sends to them yet.
func order(state map[string]*v1alpha1.NodeNetwork) error {
	var used []*v1alpha1.NodeNetwork
	for _, nn := range state {
		if len(nn.Status.PreparedRevisions) > 0 && slices.ContainsFunc(nn.Spec.Subnets, func(s v1alpha1.NodeSubnet) bool { return s.State != v1alpha1.SubnetIntended }) {
			used = append(used, nn)
		}
	}
	for _, sender := range used {
		for _, receiver := range used {
			asked, does := sender.Spec.Transmit, sender.Status.TransmitRevision
			if !slices.Contains(receiver.Status.PreparedRevisions, asked) {
				return fmt.Errorf("%s is asked to send %s, which %s has not prepared (%v)", sender.Name, asked, receiver.Name, receiver.Status.PreparedRevisions)
			}
			if does != "" && !slices.ContainsFunc(receiver.Spec.Revisions, func(r v1alpha1.Revision) bool { return r.ID == does }) {
				return fmt.Errorf("%s sends %s, which %s is told to drop", sender.Name, does, receiver.Name)
			}
		}
	}
	return nil
}
