// Package cli tests `kubectl hopsack` against a real kube-apiserver and etcd with the CRDs that are shipped: what it prints, how
// it ends, what it writes, and that the API server accepts every NetworkConfig that convert makes.
//
// It owns a control plane on loopback for as long as the tests run, and posts the statuses that a controller and agents would.
// It refuses to skip: without the programs it fails and says how to get them.
//
// Invariant: a test runs the command as main does, from its arguments to its exit code.
package cli
