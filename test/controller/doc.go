// Package controller tests the controller against a real kube-apiserver and etcd, with the CRDs, RBAC and admission policy that
// are shipped: allocation, adoption, refusals, rollouts of directRouting, deletion, teardown, crashes and scale.
//
// It owns a control plane on loopback for as long as the tests run, and fake agents that report as real ones do, with the
// rights and the node claim of a real agent's token. It refuses to skip: without the programs it fails and says how to get
// them.
//
// Invariant: tests look at the objects that result, not at the calls that were made; whenever one ends, no two bound subnets
// overlap.
package controller
