//go:build tools

// Package containerd pins the version of the container runtime of a lab with kubelets. hack/build-kubelet-lab.sh builds it.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
