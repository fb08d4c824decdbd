// Package load asks a Service on a cluster with kubelets over HTTP, as its users would, and counts what fails.
//
// It owns the connections of a generator, each opened in the network of who asks (a pod, a node as its host-network pods have it,
// a machine outside), and the Deployment and Service that are asked. It refuses to mend anything: there is no second try, a
// connection that breaks is a failed request that is told with its error, and what the generator did late or not at all is counted
// by itself and never as the network's.
//
// The invariant: every request belongs to the measurement in which it was due, and is counted there once, as answered or as
// failed, also when the answer comes after the measurement ended.
package load
