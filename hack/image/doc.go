// Command image makes what people install: the container images of controller and agent as OCI archives, and archives of
// kubectl-hopsack and of the programs of a node, for every platform, with their licences and software bills of materials. It
// needs Go and Debian's apt and dpkg-deb, no container engine and no registry.
//
// It owns what is in the images and how it is called. It refuses a library that no package has, a module without a licence,
// and everything that would make two builds differ: cgo, paths and times of this machine, version control.
//
// Invariant: the same sources, version, lock of Debian packages and Go release give the same files, byte for byte.
package main
