//go:build tools

// Package kubernetes pins the version of what runs on the nodes and beside the API server of a lab with kubelets, and of the
// test programs that Kubernetes has for them. hack/build-kubelet-lab.sh builds them.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"

	_ "github.com/onsi/ginkgo/v2/ginkgo"
)
