//go:build tools

// Package controlplane pins what the lab's control plane is built from: a module of its own, so that the product's
// go.mod stays small. Nothing here is imported by the product.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
