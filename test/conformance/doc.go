// Command conformance runs the Kubernetes project's own conformance tests of the network against hopsack as it ships: the images
// and manifests, on a lab with kubelets that exists for this run only. It is what `make conformance` calls.
//
// It owns which specs run and how they are counted. It refuses to call a run without a single spec a success, and to leave a lab
// behind. What the tests said stays in the report folder; the last line of standard output is one JSON object.
//
// Invariant: it ends with 0 only when at least one spec ran and all that ran passed.
package main
