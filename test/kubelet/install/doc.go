// Package install tests what users install, on one cluster with kubelets that it is installed on three times: with kustomize
// under other names, with Helm in another namespace, and from one file.
//
// It owns the look at a cluster and its nodes before and after (what is not as it was is a trace), the attempts that the token
// of a real agent's pod is refused, and what the real containers may do. It refuses to hide what an installation leaves: what is
// left out of a look is written down with its reason.
package install
