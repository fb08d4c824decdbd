// Package network tests on a cluster with kubelets what a pod network owes Kubernetes: that it comes up where nothing works yet,
// that a pod gets an address of its node and of no other network, who sees which source address, that Services, names and ports of
// hosts work in every mode of kube-proxy, and that nothing of a pod stays behind.
//
// It owns these scenarios; those that are measured as well are not in test files, for test/bench. It refuses to know how the data
// path is made: what it looks at is what pods, nodes and clients see, and what Kubernetes reports. The steps of its one test build on
// each other, because a cluster for each would take minutes.
package network
