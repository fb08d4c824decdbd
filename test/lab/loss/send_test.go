package loss

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPortCycleJumpsOverPortsInUse holds a long row of ports, as another measurement's pool does.
func TestPortCycleJumpsOverPortsInUse(t *testing.T) {
	const row = 2000
	ns := newSpace(t)
	f := familyOf(netip.IPv4Unspecified())
	err := inNetNS(ns.path, func() error {
		for i := range row {
			fd, err := openUDP(f, firstPort+uint16(i), false)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
		}
		c := newPortCycle(f, false, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:10")})
		c.offset = 0
		seen := map[string]bool{}
		for range portCount + 1000 {
			fd, to, err := c.open()
			if err != nil {
				return err
			}
			local, err := unix.Getsockname(fd)
			unix.Close(fd)
			if err != nil {
				return err
			}
			tuple := fmt.Sprint(addrPort(local), addrPort(to))
			if seen[tuple] {
				t.Fatalf("%s is used twice", tuple)
			}
			seen[tuple] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOwnFailureIsSkippedAndNotLost(t *testing.T) {
	s := &stream{}
	o := &outlet{stream: s, tx: func([]byte) error { return &ownError{errors.New("no port is free")} }}
	o.send(1, phaseMeasure, 0, &sizer{payload: 64}, make([]byte, 64))
	o.tx = func([]byte) error { return unix.EPERM }
	o.send(1, phaseMeasure, 0, &sizer{payload: 64}, make([]byte, 64))
	got := s.counts(0, false)
	if got.Sent != 1 || got.Skipped != 1 || got.Refused != 1 || got.Lost != 1 || got.FirstError != "no port is free" {
		t.Errorf("got %+v, want one skipped for want of a port and one refused and lost", got)
	}
}
