package loss

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOverflowIsNotLoss fills a small socket before anybody reads it.
func TestOverflowIsNotLoss(t *testing.T) {
	const packets = 2000
	ns := newSpace(t)
	f := familyOf(netip.IPv4Unspecified())
	s := &stream{id: 1}
	var phase atomic.Int32
	phase.Store(phaseMeasure)
	r := &receiver{run: 1, phase: &phase}
	err := inNetNS(ns.path, func() error {
		fd, port, err := openReceiver(f, false, 64<<10)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		r.inlets = []inlet{{fd: fd, stream: s}}
		from, tx, err := connectedTx(f, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), false)
		if err != nil {
			return err
		}
		defer unix.Close(from)
		out := &outlet{stream: s, tx: tx}
		z := &sizer{payload: 64}
		for range packets {
			out.send(1, phaseMeasure, 0, z, make([]byte, 64))
		}
		time.AfterFunc(200*time.Millisecond, func() { phase.Store(phaseStop) })
		if err := r.loop(); err != nil {
			return err
		}
		overflowed, err := r.overflowed(s)
		if err != nil {
			return err
		}
		c := s.counts(overflowed, false)
		if c.Sent != packets || c.Lost != 0 || c.Overflowed == 0 || c.Overflowed != packets-s.in.count() {
			t.Errorf("got %+v with %d received, want all that is missing overflowed and none lost", c, s.in.count())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOverloadErrorKeepsTheCommandsStatus(t *testing.T) {
	err := errors.Join(&CommandError{Err: errors.New("boom")}, &OverloadError{Packets: 3})
	var ce *CommandError
	var oe *OverloadError
	if !errors.As(err, &ce) || !errors.As(err, &oe) || oe.Packets != 3 {
		t.Errorf("got %v, want both errors to be found", err)
	}
}

func TestStampsAreTheKernels(t *testing.T) {
	ns := newSpace(t)
	f := familyOf(netip.IPv6Unspecified())
	err := inNetNS(ns.path, func() error {
		fd, port, err := openReceiver(f, false, socketBuffer)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		before := time.Now()
		if err := sendTo(fd, []byte("x"), sockaddr(netip.AddrPortFrom(netip.IPv6Loopback(), port))); err != nil {
			return err
		}
		after := time.Now()
		time.Sleep(50 * time.Millisecond)
		var b receiveBuffer
		p, ok, err := b.readPacket(fd)
		if err != nil || !ok {
			t.Fatalf("got %v, %v", ok, err)
		}
		if at := time.Unix(0, p.at); at.Before(before.Add(-time.Millisecond)) || at.After(after.Add(time.Millisecond)) {
			t.Errorf("stamped %s, want between %s and %s: when it came, not when it was read", at, before, after)
		}
		if p.from != netip.AddrPortFrom(netip.IPv6Loopback(), port) {
			t.Errorf("source: got %s", p.from)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
