// Package fakekernel is a dataplane.Kernel in memory, for tests of what happens when a call fails.
//
// It owns the consequences that matter there: an entry goes with its device, a route with its source address, an occupied
// VNI, name or prefix is refused. It refuses to be a model of Linux: what the kernel really does is tested in network
// namespaces. Invariant: a call that is told to fail changes nothing.
package fakekernel
