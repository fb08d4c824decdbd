// Package cniconf looks at the directory that container runtimes read CNI configuration from.
//
// It owns the question whose configuration a runtime will use. It refuses to change anything: hopsack's own file is written
// with the rest of the desired state, and other files belong to others.
//
// Invariant: it reads the directory as runtimes do, by file name in byte order, .conf, .conflist and .json alone.
package cniconf
