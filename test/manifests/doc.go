// Package manifests tests what people install: that a real API server takes the manifests and the chart, that a release can be
// upgraded and uninstalled without losing objects, that agents' requests have their own share of the API server, and that each
// capability of the agent's container is needed by something.
package manifests
