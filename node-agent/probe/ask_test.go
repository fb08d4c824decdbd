package probe

import (
	"testing"
)

// Every path is proven, each over its own device.
func TestAsk(t *testing.T) {
	w := newWorld(t)
	w.prober(1)
	w.prober(2)
	for _, path := range []string{"", tunnelPath, directPath} {
		got := w.ask(1, 2, path)
		if !got.OK || !got.Small || got.RTT <= 0 {
			t.Errorf("path %q: got %+v, want an answer", path, got)
		}
		t.Logf("%q: %+v", path, got)
	}
}
