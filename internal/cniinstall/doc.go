// Package cniinstall puts CNI plugins where the container runtime looks for them, while it is looking, and takes them away again.
//
// It owns the order and the way of it: what hopsack's plugin calls comes first, the plugin itself last, and the other way round
// when they go; each file is written beside its place, synced and renamed. What it put there is on disk beside the plugins
// before it is in place, and so is what was there before, which comes back when hopsack's goes. It refuses to write into a file
// that may be running, to write through a symbolic link, to touch any file it was not given, and to remove one that is not as
// it put it there.
//
// Invariant: at every moment, whatever dies, each plugin's name holds the whole old file or the whole new one, and what is not
// hopsack's can be told from what is.
package cniinstall
