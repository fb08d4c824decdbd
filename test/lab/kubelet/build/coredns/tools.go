//go:build tools

// Package coredns pins the version of the name server of a lab with kubelets. hack/build-kubelet-lab.sh builds it.
package coredns

import _ "github.com/coredns/coredns"
