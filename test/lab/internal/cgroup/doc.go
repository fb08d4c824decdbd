// Package cgroup gives a machine of the lab control groups of its own, one in every hierarchy, inside those of whoever starts
// the lab: what limits the caller limits the machine.
//
// It owns the groups it is asked to make and everything below them. It refuses hierarchies of version 2 that have controllers:
// there a group with processes may not hand controllers on, which a kubelet in its machine's own group would need.
// Invariant: Remove, given what Make was going to make, leaves none of it, however far Make came.
package cgroup
