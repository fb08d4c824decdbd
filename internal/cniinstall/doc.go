// Package cniinstall puts CNI plugins where the container runtime looks for them, while it is looking.
//
// It owns the order and the way of it: what hopsack's plugin calls comes first, the plugin itself last; each file is written
// beside its place, synced and renamed. It refuses to write into a file that may be running, to write through a symbolic link,
// and to touch any file it was not given.
//
// Invariant: at every moment, whatever dies, each plugin's name holds the whole old file or the whole new one.
package cniinstall
