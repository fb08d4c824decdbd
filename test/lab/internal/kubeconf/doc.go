// Package kubeconf says how the programs of a node with a kubelet are configured: files and command lines.
//
// It owns every option that makes them run in namespaces of one machine that others use, too, each with its reason. It refuses
// to write, start or look at anything.
// Invariant: nothing here lets a program change a setting of the kernel that is not its node's own.
package kubeconf
