package docs

import (
	"testing"

	"github.com/hopsack-net/hopsack/test/kubelet/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }
