// Package e2e tests what hopsack promises, end to end: a cluster of three nodes, one behind a router, with the real etcd and
// kube-apiserver, the programs from cmd/ and pods plugged in by CNI. One lab serves all tests; each leaves it as it was.
//
// It owns the promises of the design that no package can keep alone. It refuses to assert time: it waits for conditions with
// deadlines, and counts packets.
package e2e
