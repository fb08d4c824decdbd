package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
)

// pass is one Sync.
type pass struct {
	*Dataplane
	ctx  context.Context
	want desired.State
	full bool

	changes  Changes
	failed   map[string]*errorList // by kind
	problems map[string][]string   // by reason
	held     int                   // entries not tried because of a failure before them
	blind    bool                  // the devices could not be read: nothing can be done
	doubtful bool                  // something else could not be read: nothing is deleted

	links    map[string]Link // by name, as they are now
	names    map[int]string
	unusable map[string]bool // wanted devices that are not there or not up

	fdb, neighs  neighWork
	routes       routeWork
	tables       tableWork
	spareAddrs   []Addr
	heldPeers    map[desired.NeighKey]bool
	heldVTEPs    map[desired.FDBKey]bool
	filterFailed bool

	lingering map[string]bool // tunnels that are not wanted and stay for now
	closing   map[string]bool // these, and those that this pass is to delete
	closed    bool            // one of them has been deleted
	again     time.Duration   // when the first of those that stay is to go; 0 for never
}

// run takes steps until the end, or until there is no point in going on.
func (p *pass) run(steps ...func()) {
	for _, step := range steps {
		if p.ctx.Err() != nil || p.blind {
			return
		}
		step()
	}
}

// did counts a write, or notes why it failed.
func (p *pass) did(kind string, err error) bool {
	if err != nil {
		if p.failed[kind] == nil {
			p.failed[kind] = &errorList{}
		}
		p.failed[kind].add(err)
		return false
	}
	p.changes[kind]++
	return true
}

// fail notes an error that is not one of an entry.
func (p *pass) fail(kind string, err error) {
	if err != nil {
		p.did(kind, err)
	}
}

// failRead notes that something could not be read. What it would have shown is not known, so the pass deletes nothing.
func (p *pass) failRead(kind string, err error) {
	p.doubtful = true
	p.fail(kind, err)
}

// ok says that nothing of these kinds has failed so far.
func (p *pass) ok(kinds ...string) bool {
	return !slices.ContainsFunc(kinds, func(k string) bool { return p.failed[k] != nil })
}

// problem notes something that is not an error.
func (p *pass) problem(reason, format string, args ...any) {
	p.problems[reason] = append(p.problems[reason], fmt.Sprintf(format, args...))
}

// kinds are in the order of a pass, so that the error that came first is read first.
var kinds = []string{KindLink, KindAddress, KindSysctl, KindFirewall, KindFDB, KindNeigh, KindRoute, KindRule, KindPod, KindFile}

func (p *pass) err() error {
	var all []error
	for _, kind := range kinds {
		if l := p.failed[kind]; l != nil {
			all = append(all, l.err())
		}
	}
	if p.held > 0 && len(all) > 0 { // else it is a Problem that they wait for
		all = append(all, fmt.Errorf("held back %d entries that need what failed", p.held))
	}
	if p.doubtful {
		all = append(all, errors.New("delete nothing: not everything could be read"))
	}
	if err := p.ctx.Err(); err != nil {
		all = append(all, fmt.Errorf("stop before the end: %w", err))
	}
	return errors.Join(all...)
}

// maxNamed is how many findings of one reason a message has.
const maxNamed = 4

// report makes one Problem per reason, in a fixed order.
func (p *pass) report() []desired.Problem {
	var out []desired.Problem
	for _, reason := range []string{v1alpha1.ReasonForeignDevice, v1alpha1.ReasonForeignRoute, v1alpha1.ReasonRevisionUnusable, v1alpha1.ReasonForeignRule, v1alpha1.ReasonHostNotConfigured} {
		found := p.problems[reason]
		if len(found) == 0 {
			continue
		}
		message := strings.Join(found[:min(len(found), maxNamed)], "; ")
		if more := len(found) - maxNamed; more > 0 {
			message += fmt.Sprintf("; and %d more", more)
		}
		out = append(out, desired.Problem{Reason: reason, Message: message})
	}
	return out
}

// moreErrors says how many errors of a kind are not shown.
type moreErrors int

func (n moreErrors) Error() string { return fmt.Sprintf("and %d more errors like these", int(n)) }
