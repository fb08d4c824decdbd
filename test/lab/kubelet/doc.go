// Package kubelet holds the tests of a lab with kubelets (see package lab), and below it what such a lab is made of: the pinned
// versions of its programs (build), its container images (images) and the one program that is its own (pause).
//
// It owns no code of the lab. It refuses hopsack: where a pod network is needed, a bridge on every node stands in, so that the
// lab is tested by itself.
// Invariant: every test takes down what it brought up, and says what is left when something is.
package kubelet
