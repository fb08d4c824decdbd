//go:build tools

// Package runc pins the version of what starts the containers of a lab with kubelets. hack/build-kubelet-lab.sh builds it.
package runc

import _ "github.com/opencontainers/runc"
