// Package nstest gives kernel tests network namespaces of their own.
//
// It owns the namespaces it makes and the threads it locks to them. It refuses to run in the namespace the tests were started
// in: Main moves the whole test process out of it, and without the right to do that the tests fail. Invariant: a namespace
// has no name and no mount, so it goes with the process, whatever becomes of it.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// moved is set in the environment of a test process that is in a namespace of its own.
const moved = "NSTEST_MOVED"

// Main runs a package's tests in a process whose every thread is in a new network namespace. Enter alone is not enough: a
// goroutine that a test starts, or a sub-benchmark, runs on another thread, and a program that it runs would work on the
// machine's own network. Call it from TestMain of every package whose tests change a network.
func Main(m *testing.M) {
	if os.Getenv(moved) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // exec keeps the namespace of the thread that calls it
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), moved+"=1"))
	}
	fmt.Fprintf(os.Stderr, "move the tests to a network namespace: %v (kernel tests need root)\n", err)
	os.Exit(1)
}

// Enter moves the test to a new network namespace whose lo is up, and back when the test ends. It locks the test to its
// thread, so tests may run in parallel; goroutines that the test starts, sub-tests included, are elsewhere.
func Enter(t testing.TB) netns.NsHandle {
	t.Helper()
	if os.Getenv(moved) == "" {
		t.Fatal("the package's TestMain does not call nstest.Main")
	}
	runtime.LockOSThread()
	home := must(netns.Get())(t)
	inside := must(netns.New())(t)
	t.Cleanup(func() {
		inside.Close()
		if err := netns.Set(home); err != nil {
			t.Errorf("return from the test's network namespace: %v", err)
			return // the thread stays locked, and so dies with the goroutine
		}
		home.Close()
		runtime.UnlockOSThread()
	})
	loopbackUp(t)
	return inside
}

// New makes another network namespace whose lo is up. The test must be inside one (Enter) already, and stays there.
func New(t testing.TB) netns.NsHandle {
	t.Helper()
	here := must(netns.Get())(t)
	defer here.Close()
	ns := must(netns.New())(t)
	t.Cleanup(func() { ns.Close() })
	loopbackUp(t)
	if err := netns.Set(here); err != nil {
		t.Fatalf("return to network namespace: %v", err)
	}
	return ns
}

// Do runs f inside ns, on the test's own thread.
func Do(t testing.TB, ns netns.NsHandle, f func()) {
	t.Helper()
	here := must(netns.Get())(t)
	defer here.Close()
	if err := netns.Set(ns); err != nil {
		t.Fatalf("enter network namespace: %v", err)
	}
	defer func() {
		if err := netns.Set(here); err != nil {
			t.Errorf("return to network namespace: %v", err)
		}
	}()
	f()
}

// Go runs f inside ns on a goroutine and thread of its own, and returns a channel that is closed at its end.
func Go(t testing.TB, ns netns.NsHandle, f func()) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends here, it is not given back in a foreign namespace
		if err := netns.Set(ns); err != nil {
			t.Errorf("enter network namespace: %v", err)
			return
		}
		f()
	}()
	return done
}

// Run runs a command in the current namespace and returns its output; the test ends when it fails.
func Run(t testing.TB, command string) string {
	t.Helper()
	args := strings.Fields(command)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func loopbackUp(t testing.TB) {
	t.Helper()
	lo := must(netlink.LinkByName("lo"))(t)
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatalf("network namespace: %v (kernel tests need root)", err)
		}
		return v
	}
}
