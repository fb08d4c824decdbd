// Package nstest gives kernel tests network namespaces of their own.
//
// It owns the namespaces it makes and the threads it locks to them. It refuses to run in the root namespace: without the
// right to make a namespace a test fails. Invariant: a namespace has no name and no mount, so it goes with the test, whatever
// becomes of the test.
package nstest

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Enter moves the test to a new network namespace whose lo is up, and back when the test ends. The test must not run in
// parallel with itself; goroutines it starts are elsewhere.
func Enter(t testing.TB) netns.NsHandle {
	t.Helper()
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
