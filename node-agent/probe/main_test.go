package probe

import (
	"os"
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

// TestMain lets the test program be a prober that is killed.
func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		runHelper()
	}
	nstest.Main(m)
}
