package cluster

import (
	"fmt"
	"os"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

// Main is a TestMain for packages that use ForTest: the test program stands in for the lab's helper.
func Main(m *testing.M) {
	if handled, err := lab.RunHidden(os.Args[1:]); handled {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the lab's tests make network namespaces: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// ForTest starts a cluster that is taken down with the test, and logs what it reports when the test has failed.
func ForTest(t *testing.T, o Options) *Cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Helper, o.Out = self, logged{t}
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Describe(t.Context()))
		}
		if err := c.Down(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// logged sends progress to the test's log.
type logged struct{ t *testing.T }

func (w logged) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
