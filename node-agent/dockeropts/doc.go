// Package dockeropts turns subnet.env into options for a Docker daemon that shares the node's subnet, under the variable
// names that flannel's users have in their unit files.
//
// It owns the parse of subnet.env and the form of the output. It refuses to start or configure Docker.
//
// Invariant: the same file gives the same output; a file that lacks a variable it needs is an error that names it.
package dockeropts
