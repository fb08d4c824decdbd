package loss

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// minWarmUp gives path MTU discovery and connection tracking time to settle.
const minWarmUp = 300 * time.Millisecond

// Run warms up, calls o.During and counts what is lost meanwhile.
//
// With a *CommandError (During failed) or an *OverloadError (the machine was too busy), or both joined, the Result is
// complete; with any other error it is zero. Whatever happens, sockets, threads and the NodePort's rules are gone when Run returns.
// Several may run at once.
func Run(ctx context.Context, o Options) (res Result, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	p, err := open(ctx, o)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.start()
	if err := p.warmUp(ctx); err != nil {
		return Result{}, err
	}
	before, err := machineDropped()
	if err != nil {
		return Result{}, err
	}
	start := time.Now()
	p.phase.Store(phaseMeasure)
	during := o.During(ctx)
	took := time.Since(start)
	p.phase.Store(phaseDrain)
	p.drain()
	p.stop()
	res, err = p.result(took, before)
	if during != nil {
		err = errors.Join(&CommandError{Err: during}, err)
	}
	return res, err
}

// warmUp sends until every stream has arrived steadily. A stream on which nothing arrives in o.WarmUp is an error: loss
// cannot be told from a network that never worked.
func (p *probe) warmUp(ctx context.Context) error {
	start := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if err := p.failed(); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		elapsed := time.Since(start)
		cold := p.cold()
		if len(cold) == 0 && elapsed >= minWarmUp && p.steady() {
			return nil
		}
		if elapsed < p.o.WarmUp {
			continue
		}
		if len(cold) > 0 {
			return fmt.Errorf("nothing arrived in %s of warm-up on: %s", p.o.WarmUp, strings.Join(cold, "; "))
		}
		return nil // lossy, but alive: that is what is to be measured
	}
}

// cold lists the streams on which nothing has arrived yet.
func (p *probe) cold() []string {
	var cold []string
	for _, s := range p.udp {
		if n, _ := s.in.warmState(); n == 0 {
			cold = append(cold, s.cold())
		}
	}
	if p.tcp != nil {
		cold = append(cold, p.tcp.warm()...)
	}
	return cold
}

// steady reports whether every UDP stream has some packets behind it and is still arriving.
func (p *probe) steady() bool {
	period := time.Second / time.Duration(p.o.Rate)
	need := int64(max(2, min(20, p.o.Rate/10)))
	now := time.Now().UnixNano()
	for _, s := range p.udp {
		if n, last := s.in.warmState(); n < need || time.Duration(now-last) > 3*period+50*time.Millisecond {
			return false
		}
	}
	return true
}

// drain waits for what is in flight: UDP up to DrainUDP, TCP up to DrainTCP.
func (p *probe) drain() {
	for _, s := range p.senders {
		select {
		case <-s.quiet:
		case <-time.After(2*s.period + DrainUDP): // its thread has failed, or the machine hangs
		}
	}
	end := time.Now()
	for time.Since(end) < DrainUDP && p.outstanding() > 0 {
		time.Sleep(2 * time.Millisecond)
	}
	if p.tcp != nil {
		p.tcp.drain(end.Add(DrainTCP))
	}
}

// outstanding is how many UDP packets may still arrive.
func (p *probe) outstanding() int64 {
	var sum int64
	for _, s := range p.udp {
		sum += s.outstanding()
	}
	return sum
}

// result gathers the counts. The threads have ended. before is what the machine had dropped before. With an *OverloadError the counts are complete.
func (p *probe) result(took time.Duration, before int64) (Result, error) {
	if err := p.failed(); err != nil {
		return Result{}, fmt.Errorf("probe: %w", err)
	}
	res := Result{From: p.o.From.Name, To: p.o.To.Name, DurationMs: millis(took)}
	if np := p.o.NodePort; np != nil {
		res.To = nodePortName(np.Node.Name, p.o.To.Name)
	}
	var udp, tcp []Stream
	for _, s := range p.udp {
		var overflowed int64
		for _, r := range p.receivers {
			n, err := r.overflowed(s)
			if err != nil {
				return Result{}, err
			}
			overflowed += n
		}
		udp = append(udp, Stream{s.name, s.counts(overflowed, p.df())})
	}
	if p.tcp != nil {
		for i, s := range p.tcp.long.streams() {
			tcp = append(tcp, Stream{s.name, p.tcp.long.counts(i)})
		}
		for _, f := range p.tcp.fresh {
			tcp = append(tcp, Stream{f.stream.name, f.counts()})
		}
	}
	after, err := machineDropped()
	if err != nil {
		return Result{}, err
	}
	res.MachineDropped = max(0, after-before) // the kernel's counters wrap
	res.Counts = totals(udp, tcp)
	res.Streams = append(udp, tcp...)
	if res.Overflowed > 0 {
		return res, &OverloadError{Packets: res.Overflowed}
	}
	return res, nil
}
