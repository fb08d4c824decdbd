package loss

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetNS runs fn on an OS thread of its own inside the network namespace at path and waits for it. The thread ends
// with fn, so no thread ever comes back from a foreign namespace. Sockets fn opens stay in that namespace.
func inNetNS(path string, fn func() error) error {
	done := make(chan error, 1)
	go onOwnThread(func() { done <- enter(path, fn) })
	return <-done
}

func enter(path string, fn func() error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	f.Close()
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return fn()
}

// onOwnThread runs fn on a thread that ends with it. The main thread is avoided: it cannot end, and /proc/self/ns/net
// is its namespace.
func onOwnThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn()
		return // still locked: the runtime ends the thread
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(fn)
	}()
	<-done
	runtime.UnlockOSThread()
}
