// Package docs runs the commands of the documentation, page by page, on one cluster: as the administrator, or on a node where a
// page says so, in the situations that a page describes, and compares what they print with what the page shows; and it tries the ways in which kube-proxy may tell pods apart.
//
// It owns the situations, each with the way into it and out of it, and the place that stands in for the user's: a folder with the
// files that a page speaks of, and a PATH. It refuses to skip: what cannot be run is in the list of package test/docs.
package docs
