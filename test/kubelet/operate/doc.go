// Package operate does to a cluster with kubelets what its operators do, or what befalls them, and counts what pods notice: it
// upgrades hopsack, deletes all of its pods, turns a node off and on, and stops the control plane.
//
// It owns the pods that are measured, and the manifests of a version after this one. It refuses to judge paths that end on a node
// that is off: what is measured then are the paths of the other nodes.
//
// The invariant: an operation is over when everything it replaced is Ready again, and everything until then is in its figures.
package operate
