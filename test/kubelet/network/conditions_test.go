package network

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// sayings is what Nodes have said of NetworkUnavailable since they were watched.
type sayings struct {
	w *world

	mu sync.Mutex
	// all are the statuses of each node in their order.
	all map[string][]string
	// lies are statuses that were not true when they were read.
	lies []string
}

// listen watches the Nodes until the test ends.
func listen(ctx context.Context, t *testing.T, w *world) *sayings {
	t.Helper()
	api, err := w.Client()
	if err != nil {
		t.Fatal(err)
	}
	watch, err := api.Watch(ctx, &corev1.NodeList{})
	if err != nil {
		t.Fatal(err)
	}
	s := &sayings{w: w, all: map[string][]string{}}
	go func() {
		defer watch.Stop()
		for event := range watch.ResultChan() {
			if node, ok := event.Object.(*corev1.Node); ok {
				s.hear(node)
			}
		}
	}()
	return s
}

func (s *sayings) hear(node *corev1.Node) {
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeNetworkUnavailable {
			continue
		}
		s.mu.Lock()
		said := s.all[node.Name]
		if status := string(c.Status); len(said) == 0 || said[len(said)-1] != status {
			s.all[node.Name] = append(said, status)
			// The agent hands the network over to the plugin last, and takes that back first.
			if _, err := s.w.StableAddr(node.Name); err != nil && c.Status == corev1.ConditionFalse {
				s.lies = append(s.lies, fmt.Sprintf("node %s has a network (%s): %v", node.Name, c.Reason, err))
			}
		}
		s.mu.Unlock()
	}
}

// expect waits until every node has said exactly this since the last time, and sees that all of it was true.
func (s *sayings) expect(ctx context.Context, t *testing.T, want ...string) {
	t.Helper()
	s.w.soon(ctx, t, fmt.Sprintf("every node to say %q of NetworkUnavailable", want), func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, node := range s.w.nodes {
			if got := s.all[node]; !slices.Equal(got, want) {
				return false, fmt.Errorf("node %s said %q", node, got)
			}
		}
		return true, nil
	})
	s.recent(t)
}

// recent forgets what was said but for the last word, once it sees that all of it was true.
func (s *sayings) recent(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, lie := range s.lies {
		t.Error(lie)
	}
	for node, said := range s.all {
		s.all[node] = said[len(said)-1:]
	}
}
