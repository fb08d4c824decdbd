package cni

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

// A dump that a change interrupted is begun again, and never used.
func TestRetryDump(t *testing.T) {
	for name, tc := range map[string]struct {
		interrupted int
		want        int // entries
		err         error
	}{
		"at once":     {0, 2, nil},
		"interrupted": {4, 2, nil},
		"never":       {5, 0, netlink.ErrDumpInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			left := tc.interrupted
			got, err := retryDump(func() ([]int, error) {
				if left--; left >= 0 {
					return []int{1}, netlink.ErrDumpInterrupted
				}
				return []int{1, 2}, nil
			})
			if len(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %v, %v, want %d entries, %v", got, err, tc.want, tc.err)
			}
		})
	}
}
