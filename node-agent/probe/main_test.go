package probe

import (
	"testing"

	"github.com/hopsack-net/hopsack/node-agent/dataplane/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }
