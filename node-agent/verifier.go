package nodeagent

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/hopsack-net/hopsack/api/v1alpha1"
	"github.com/hopsack-net/hopsack/node-agent/desired"
	"github.com/hopsack-net/hopsack/node-agent/probe"
)

// pathProber sends probes. All methods may be called concurrently.
type pathProber interface {
	// Configure has the prober ask and answer over exactly these paths.
	Configure(probe.Config) error
	// Ask asks a peer over a path, for as long as that takes.
	Ask(ctx context.Context, path string, target probe.Target) probe.Answer
	// Diagnose finds out why a peer did not answer.
	Diagnose(ctx context.Context, path string, target probe.Target, a probe.Answer) probe.Finding
	Close() error
}

const (
	// maxInFlight is how many peers are asked at once: those that do not answer take long.
	maxInFlight = 64
	// askTimeout bounds an ask and a diagnosis.
	askTimeout = 10 * time.Second
	// kickPause is the least time between two passes that results ask for.
	kickPause = 100 * time.Millisecond
	// judgeShare is how many times as long as judging the results takes, it is left alone after.
	judgeShare = 20
)

// verifier probes peers beside the loop, and has the loop run when something follows from the answers.
type verifier struct {
	prober  pathProber
	kick    func()
	metrics *metrics
	log     logr.Logger
	wake    trigger
	slots   chan struct{}

	mu     sync.Mutex
	ledger *ledger
	// told is what the loop knows, kicked when it was asked to run, waiting that it will be, or that the results will be judged.
	told    results
	kicked  time.Time
	waiting bool
	// judged is when the results were last compared with what the loop knows, judging how long that took.
	judged  time.Time
	judging time.Duration
}

func newVerifier(p pathProber, kick func(), m *metrics, log logr.Logger) *verifier {
	return &verifier{
		prober: p, kick: kick, metrics: m, log: log, wake: newTrigger(), slots: make(chan struct{}, maxInFlight), ledger: newLedger(),
	}
}

// set says what is to be found out from now on, and returns what is known of it.
func (v *verifier) set(want assignment) results {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ledger.set(want, time.Now())
	v.wake.kick()
	r := v.ledger.results()
	told := r.material() // the pass reports what it gets here; on the rest it went by what results said
	v.told.Verifications, v.told.Check = told.Verifications, told.Check
	if !v.waiting {
		v.tellLocked(told)
	}
	return r
}

// results are what is known now, for a pass to go by.
func (v *verifier) results() results {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.ledger.results()
	v.told = r.material()
	return r
}

// assume has the direct paths of a revision to nodes count as proven until a probe says otherwise.
func (v *verifier) assume(revision string, nodes map[string]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ledger.assume(revision, nodes)
}

// assumeCheck takes up the result of a check that an earlier process made.
func (v *verifier) assumeCheck(c *v1alpha1.CheckResult) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c != nil && v.ledger.check.request == "" {
		v.ledger.check = checkRound{request: c.Request, result: c}
	}
}

// distrust has peers asked anew over the paths of a revision that the node left because of them.
func (v *verifier) distrust(failed *v1alpha1.FailedRevision) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ledger.distrust(failed.Revision, failed.Failing, time.Now())
}

// run asks until ctx ends.
func (v *verifier) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for ctx.Err() == nil {
		j, wait := v.next()
		if j.entry != nil {
			select {
			case v.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			asking.Go(func() {
				v.ask(ctx, j)
				<-v.slots
			})
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-v.wake:
		case <-timer.C:
		}
	}
}

// job is one ask. Path and target are those of when it was begun.
type job struct {
	entry  *entry
	path   string
	target probe.Target
	kind   desired.ProbeKind
}

func (v *verifier) next() (job, time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, wait := v.ledger.take(time.Now())
	if e == nil {
		return job{}, wait
	}
	return job{entry: e, path: e.path.Name, target: e.target, kind: e.key.Kind}, 0
}

// ask asks one peer, and finds out why when it is not reached.
func (v *verifier) ask(ctx context.Context, j job) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a := v.prober.Ask(ctx, j.path, j.target)
	if ctx.Err() != nil && !a.OK {
		a.Unprepared = true // cut short: it says nothing
	}
	v.metrics.probed(j.kind, a)
	diagnose, news := v.take(j.entry, a)
	if news {
		v.tell() // whoever gives up a path on it need not wait for the reason
	}
	var f probe.Finding
	if diagnose {
		f = v.prober.Diagnose(ctx, j.path, j.target, a)
	}
	if v.release(j.entry, diagnose, f) {
		v.tell()
	}
	v.wake.kick()
}

// take notes an answer. It says whether it is worth a diagnosis, and whether something may follow from it.
func (v *verifier) take(e *entry, a probe.Answer) (diagnose, news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ledger.entries[e.key] != e {
		return false, false // nobody wants to know any more
	}
	proven, failing := e.proven, e.failing()
	diagnose = v.ledger.answer(e, a, time.Now())
	if proven != e.proven {
		v.log.V(1).Info("A path changed", "peer", e.key.Node, "path", e.path.Name, "answers", e.proven)
	}
	// While a revision is on trial it matters when a path answered last.
	return diagnose, proven != e.proven || failing != e.failing() || v.ledger.want.Previous != ""
}

// release ends an ask, with the reason why it failed where one was looked for. It says whether something may follow.
func (v *verifier) release(e *entry, diagnosed bool, f probe.Finding) (news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if diagnosed && e.failing() {
		news = e.finding != f
		e.finding = f
	}
	e.inFlight = false
	before := v.ledger.check.result
	v.ledger.finishCheck(time.Now())
	return news || v.ledger.check.result != before
}

// tell has the loop run if something follows from what is known now, at most once in kickPause. Where judging that takes long,
// because there are thousands of peers, it is done less often.
func (v *verifier) tell() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting {
		return
	}
	if wait := judgeShare*v.judging - time.Since(v.judged); wait > 0 {
		v.waiting = true
		time.AfterFunc(wait, func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.judgeLocked()
		})
		return
	}
	v.judgeLocked()
}

// judgeLocked compares what is known now with what the loop knows. The caller holds the lock.
func (v *verifier) judgeLocked() {
	started := time.Now()
	r := v.ledger.results().material()
	v.judged = time.Now()
	v.judging = v.judged.Sub(started)
	v.tellLocked(r)
}

// tellLocked has the loop run if it does not know of the results. The caller holds the lock.
func (v *verifier) tellLocked(now results) {
	v.waiting = !reflect.DeepEqual(now, v.told)
	if !v.waiting {
		return
	}
	time.AfterFunc(max(0, kickPause-time.Since(v.kicked)), func() {
		v.mu.Lock()
		v.kicked, v.waiting = time.Now(), false
		v.mu.Unlock()
		v.kick()
	})
}
