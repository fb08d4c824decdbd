// Package oci writes container images as OCI archives: the tar files that `ctr images import`, skopeo and podman read. It
// needs neither a container engine nor a registry.
//
// It owns the bytes of layers, configurations, manifests and indexes. It refuses to know what goes into an image, to pull
// one, and to record anything of the machine that builds: no times, no owners, no order of a directory.
//
// Invariant: the same content, options and Go release give the same archive, byte for byte, and so the same digest.
package oci
