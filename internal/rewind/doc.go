// Package rewind notices that the API server's history went back: etcd was restored from a backup.
//
// Watches do not notice. The API server accepts a watch from a resourceVersion that it has not reached yet and stays silent
// until it does, so an informer goes on showing what was before the backup was restored, and misses what comes after.
//
// It owns the question when to look and how to compare. It refuses to act: its user starts afresh.
//
// Invariant: while the API server is not interrupted it costs nothing, and after an interruption one request.
package rewind
