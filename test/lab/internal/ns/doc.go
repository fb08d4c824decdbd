// Package ns creates network namespaces and runs code and processes inside namespaces.
//
// It owns the entries of /run/netns that it is asked to create, and the threads on which it enters a namespace.
// It refuses to guess: a path that is not a namespace is an error, never the caller's own namespace.
// Invariant: no thread that entered a namespace is ever given back to the Go scheduler in that state.
package ns
