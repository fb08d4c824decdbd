// Package flannel turns flannel's configuration into a NetworkConfig: net-conf.json as it stands in files, in etcd, in the
// kube-flannel ConfigMap or in a manifest that holds it, with the flags and the CNI configuration beside it where they are.
//
// It owns the list of everything flannel can be configured with, and what becomes of each: carried over, or named as not
// carried over. It refuses what hopsack cannot do in its place (an encrypted backend, a cloud's route table), instead of
// silently doing something else.
//
// Invariant: every key of the input is either in the result or in its notes, and the result passes network.FromAPI.
package flannel
