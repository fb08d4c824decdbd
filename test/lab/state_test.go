package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNewState(t *testing.T) {
	for name, tc := range map[string]struct {
		in   Options
		want string // name address, or the error
	}{
		"defaults":       {Options{Routed: -1}, "n1 172.30.0.11/24, n2 172.30.0.12/24, n3 172.30.3.13/24"},
		"one node":       {Options{Nodes: 1, Routed: -1}, "n1 172.30.0.11/24"},
		"all routed":     {Options{Nodes: 2, Routed: 2}, "n1 172.30.1.11/24, n2 172.30.2.12/24"},
		"none routed":    {Options{Nodes: 2}, "n1 172.30.0.11/24, n2 172.30.0.12/24"},
		"too many":       {Options{Nodes: 181}, "want 1 to 180 nodes"},
		"routed of none": {Options{Nodes: 1, Routed: 2}, "no more routed ones than nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newState(tc.in)
			if err != nil {
				if !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q in it", err, tc.want)
				}
				return
			}
			var got []string
			for _, n := range s.Nodes {
				got = append(got, fmt.Sprintf("%s %s", n.Name, n.prefix()))
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStateMatches(t *testing.T) {
	s, err := newState(Options{Nodes: 3, Routed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		in Options
		ok bool
	}{
		{Options{Routed: -1}, true}, {Options{Nodes: 3, Routed: 1}, true}, {Options{Nodes: 3, Routed: -1}, true},
		{Options{Nodes: 4, Routed: -1}, false}, {Options{Routed: 0}, false}, {Options{Nodes: 2, Routed: 1}, false},
	} {
		if err := s.match(tc.in); (err == nil) != tc.ok {
			t.Errorf("nodes %d, routed %d: got %v, want ok=%t", tc.in.Nodes, tc.in.Routed, err, tc.ok)
		}
	}
}

func TestParseNodeName(t *testing.T) {
	for name, want := range map[string]int{"n1": 1, "n180": 180, "n0": 0, "n181": 0, "n01": 0, "n+1": 0, "1": 0, "node1": 0, "": 0, "n": 0, "n-1": 0, "n1 ": 0} {
		got, err := parseNodeName(name)
		if err != nil {
			got = 0
		}
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Ready", ObservedGeneration: 2}
	waiting := metav1.Condition{Type: "Programmed", Status: metav1.ConditionFalse, Reason: "WaitingForSubnet", Message: "no subnet yet", ObservedGeneration: 2}
	notReady := ready
	notReady.Status, notReady.Reason = metav1.ConditionFalse, "WaitingForSubnet"
	for name, tc := range map[string]struct {
		generation int64
		conditions []metav1.Condition
		want       []string
	}{
		"ready":     {2, []metav1.Condition{ready, waiting}, nil},
		"nothing":   {1, nil, []string{"x: no conditions yet"}},
		"not ready": {2, []metav1.Condition{notReady, waiting}, []string{"x: Ready=False (WaitingForSubnet); Programmed=False (WaitingForSubnet): no subnet yet"}},
		"stale":     {3, []metav1.Condition{ready}, []string{"x: Ready=True (Ready) for an older generation"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, describe("x", tc.generation, tc.conditions)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
