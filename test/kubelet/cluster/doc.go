// Package cluster is a Kubernetes cluster with hopsack as it ships: a lab with kubelets whose nodes have hopsack's images, and the
// ways in which users install it there.
//
// It owns the lab it starts, from nothing to nothing left, and what every test on such a cluster needs: pods from one file,
// waiting for what Kubernetes reports, and what went wrong when something did. It refuses to take over a lab that is up. What is
// tested is for its callers; package lab below it knows nothing of images and manifests.
package cluster
