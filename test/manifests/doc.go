// Package manifests tests what the manifests grant: that each capability of the agent's container is needed by something, and
// that with all of them everything works.
package manifests
