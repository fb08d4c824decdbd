// Package store keeps the last good objects on disk, so that a node that boots while the API server is gone comes up with
// the network it had.
//
// It owns one file in the agent's state directory. It refuses to judge what it holds: whether the content is young enough
// is the caller's decision. It holds nothing secret.
//
// Invariant: the file is the whole of one Save or the whole of an earlier one, never a mixture.
package store
