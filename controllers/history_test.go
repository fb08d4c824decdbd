package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/internal/network"
	"github.com/hopsack-net/hopsack/internal/plan"
)

// try is one pass's view: revision, generation, outcome, and when the try was taken up.
func try(revision string, generation int64, outcome v1alpha1.RevisionOutcome, started int) attempt {
	at := time.Unix(int64(started), 0)
	return attempt{
		revision:   plan.Revision{ID: revision, Backend: network.Backend{Type: v1alpha1.BackendHostGW}},
		generation: generation, outcome: outcome, started: at, ended: at.Add(5 * time.Second),
	}
}

// TestHistory replays what passes saw.
func TestHistory(t *testing.T) {
	const (
		inProgress, completed, failed, verified = v1alpha1.OutcomeInProgress, v1alpha1.OutcomeCompleted, v1alpha1.OutcomeFailed, v1alpha1.OutcomeVerified
	)
	refused := func(a attempt) attempt { a.message = "refused"; return a }
	for name, tc := range map[string]struct {
		passes []attempt
		want   string // newest first
	}{
		"first":                 {[]attempt{try("a", 1, completed, 0)}, "a/1 Completed"},
		"nothing happens":       {[]attempt{try("a", 1, completed, 0), try("a", 1, completed, 9), try("a", 2, completed, 19)}, "a/1 Completed"},
		"a change":              {[]attempt{try("a", 1, completed, 0), try("b", 2, inProgress, 9), try("b", 2, inProgress, 9), try("b", 2, completed, 9)}, "b/2 Completed, a/1 Completed"},
		"overtaken":             {[]attempt{try("a", 1, completed, 0), try("b", 2, inProgress, 9), try("c", 3, inProgress, 12)}, "c/3 InProgress, b/2 Superseded, a/1 Completed"},
		"back half way":         {[]attempt{try("a", 1, completed, 0), try("b", 2, inProgress, 9), try("a", 3, inProgress, 12), try("a", 3, completed, 12)}, "a/3 Completed, b/2 Superseded, a/1 Completed"},
		"failed":                {[]attempt{try("b", 2, inProgress, 9), try("b", 2, failed, 9), try("b", 2, failed, 9)}, "b/2 Failed"},
		"failed, tried again":   {[]attempt{try("b", 2, inProgress, 9), try("b", 2, failed, 9), try("b", 2, inProgress, 9), try("b", 2, failed, 9)}, "b/2 Failed, b/2 Failed"},
		"failed, worked then":   {[]attempt{try("b", 2, failed, 9), try("b", 2, inProgress, 19), try("b", 2, completed, 19)}, "b/2 Completed, b/2 Failed"},
		"tried, then made":      {[]attempt{try("b", 2, inProgress, 9), try("b", 2, verified, 9), try("b", 3, inProgress, 19), try("b", 3, completed, 19)}, "b/3 Completed, b/2 Verified"},
		"a refused spec":        {[]attempt{try("b", 2, failed, 9), refused(try("a", 3, completed, 19))}, "b/2 Failed"},
		"refused in the middle": {[]attempt{try("b", 2, inProgress, 9), refused(try("b", 2, completed, 9))}, "b/2 Completed"},
	} {
		t.Run(name, func(t *testing.T) {
			var history []v1alpha1.RevisionRecord
			for _, a := range tc.passes {
				known := a.message == ""
				a.message = ""
				history = a.remember(history, known)
			}
			var got []string
			for _, r := range history {
				got = append(got, fmt.Sprintf("%s/%d %s", r.Revision, r.Generation, r.Outcome))
				if (r.EndedAt == nil) != (r.Outcome == inProgress) || r.StartedAt == nil {
					t.Errorf("%s: started %v, ended %v, %s", r.Revision, r.StartedAt, r.EndedAt, r.Outcome)
				}
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var history []v1alpha1.RevisionRecord
	for i := range 30 {
		history = try(fmt.Sprint(i), int64(i), v1alpha1.OutcomeInProgress, i).remember(history, true)
	}
	if len(history) != historyLength || history[0].Revision != "29" || history[9].Outcome != v1alpha1.OutcomeSuperseded {
		t.Errorf("got %d records, the newest %+v", len(history), history[0])
	}
}
