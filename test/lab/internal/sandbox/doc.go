// Package sandbox is the part of a container runtime that a pod network sees: it makes a pod's network namespace and calls
// the node's CNI plugins the way containerd does for the kubelet.
//
// It owns /run/netns/NAME of the node it runs on. It refuses to know hopsack: the network is whatever the first file in
// /etc/cni/net.d says.
// Invariant: an ADD that fails leaves no namespace and has been followed by DEL.
package sandbox
