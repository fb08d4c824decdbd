// Command images writes the container images that a lab with kubelets needs, as OCI archives: there is no registry to pull
// them from.
//
// It owns which image holds what and the names under which kubelets and the Kubernetes tests ask for them. It refuses to fetch
// or to build anything: programs come from the directory that hack/build-kubelet-lab.sh filled, and what the test image needs
// of a distribution from unpacked packages and from this machine.
// Invariant: an archive has its final name only once it is complete.
package main
